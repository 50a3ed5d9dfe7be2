"""The built-in retrievers, rerankers and refiners under the suites that plugin authors use."""

import re
from types import MappingProxyType

import pytest

from sage.api import LocalEnvironment
from sage.lib.rag.refiner import ContextCompressor, Deduplicate, LongRefinerAdapter
from sage.lib.rag.reranker import (
    LightReranker,
    LLMbasedReranker,
    LostInTheMiddleReranker,
    MMRReranker,
    ScoreThreshold,
)
from sage.lib.rag.retriever import (
    BM25Retriever,
    ChromaRetriever,
    DenseRetriever,
    GraphRetriever,
    HybridRetriever,
    HyDERetriever,
    MemoryRetriever,
    MultiQueryRetriever,
    ParentDocumentRetriever,
)
from sage.middleware.services.memory import MemoryService
from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.testing.model_server import ModelServer, content_of
from sage.middleware.testing.refiners import RefinerSuite
from sage.middleware.testing.rerankers import RerankerSuite
from sage.middleware.testing.retrievers import DOCUMENTS, RetrieverSuite


def collection(tmp_path, **options):
    """A collection of the suite's documents, made once per test."""
    with MemoryManager(tmp_path) as manager:
        if not manager.has_collection("suite"):
            made = manager.create_collection("suite", embedding_model="hash", **options)
            made.insert_many(
                [d["text"] for d in DOCUMENTS],
                [d["metadata"] for d in DOCUMENTS],
                ids=[d["id"] for d in DOCUMENTS],
            )
    return {"collection_name": "suite", "data_dir": str(tmp_path)}


class TestDenseOverACollection(RetrieverSuite):
    def make(self, tmp_path, **config):
        return DenseRetriever({**collection(tmp_path), **config})


class TestHybridOverACollection(RetrieverSuite):
    def make(self, tmp_path, **config):
        return HybridRetriever({**collection(tmp_path), **config})


class TestBM25OverDocuments(RetrieverSuite):
    def make(self, tmp_path, **config):
        return BM25Retriever({"documents": list(DOCUMENTS), **config})


class TestDenseOverDocuments(RetrieverSuite):
    def make(self, tmp_path, **config):
        return DenseRetriever({"documents": list(DOCUMENTS), "embed": "hash", **config})


class TestHybridOverDocuments(RetrieverSuite):
    def make(self, tmp_path, **config):
        return HybridRetriever({"documents": list(DOCUMENTS), "embed": "hash", **config})


class TestChroma(RetrieverSuite):
    def make(self, tmp_path, **config):
        pytest.importorskip("chromadb")
        return ChromaRetriever({**collection(tmp_path, backend="chroma"), **config})


class TestMultiQueryByRules(RetrieverSuite):
    def make(self, tmp_path, **config):
        return MultiQueryRetriever({**collection(tmp_path), **config})


class TestParents(RetrieverSuite):
    expected = "whole nile"

    def make(self, tmp_path, **config):
        passages = [{**d, "parent_id": f"whole {d['id']}"} for d in DOCUMENTS]
        parents = [{**d, "id": f"whole {d['id']}"} for d in DOCUMENTS]
        own = {"documents": passages, "parents": parents, "mode": "bm25"}
        return ParentDocumentRetriever({**own, **config})

    def test_filters_come_before_the_search(self, tmp_path):
        retriever = self.make(tmp_path, top_k=1, where={"year": {"$gt": 2001}})
        (found,) = self.run(retriever, self.question)
        assert [d.id for d in found.passages] == ["whole rhine"]


class TestGraph(RetrieverSuite):
    @pytest.fixture(autouse=True, params=["pagerank", "hops", "none"])
    def walk(self, request):
        self.expand = request.param

    def make(self, tmp_path, **config):
        with MemoryManager(tmp_path) as manager:
            if not manager.has_collection("graph"):
                made = manager.create_collection("graph", "Graph", text_fields=["text"])
                made.add_nodes(
                    [(d["id"], {"text": d["text"], **d["metadata"]}, "text") for d in DOCUMENTS]
                )
                made.add_edge("nile", "rhine", "is_like")
        own = {"collection_name": "graph", "data_dir": str(tmp_path), "expand": self.expand}
        return GraphRetriever({**own, **config})


class TestMemory(RetrieverSuite):
    @pytest.fixture(autouse=True, params=["search", "recall"])
    def service(self, request, tmp_path):
        self.tier, self.folder = request.param, tmp_path
        with MemoryService({"data_dir": str(tmp_path)}) as service:
            if self.tier == "search":
                rows = service.create_collection("suite", "VDB")
                for document in DOCUMENTS:
                    rows.insert(document["text"], document["metadata"], id=document["id"])
                self.expected = "nile"
            else:
                ids = [service.remember(d["text"], d["metadata"])["id"] for d in DOCUMENTS]
                self.expected = ids[0]

    def environment(self):
        env = LocalEnvironment("suite")
        env.set_memory({"data_dir": str(self.folder)})
        return env

    def run(self, operator, *items):
        # It reaches its service through the job.
        found = []
        env = self.environment()
        env.from_collection(items).map(operator).sink(found.append)
        env.submit().wait(60)
        return found

    def make(self, tmp_path, **config):
        return MemoryRetriever({"tier": self.tier, "mode": "bm25", **config})


class TestHyDE(RetrieverSuite):
    @pytest.fixture(autouse=True)
    def imagined(self):
        with ModelServer(answer=lambda request: "The river Nile flows through Egypt.") as server:
            self.url = server.url
            yield

    def make(self, tmp_path, **config):
        model = {"model": "m", "base_url": self.url}
        return HyDERetriever({**collection(tmp_path), **model, **config})


class TestLight(RerankerSuite):
    def make(self, **config):
        return LightReranker({"keep": 0.2, **config})


class TestMMR(RerankerSuite):
    expected = None
    lacks = MappingProxyType({"ordered": "keeps the scores of the retriever"})

    def make(self, **config):
        return MMRReranker(config)


class TestLostInTheMiddle(RerankerSuite):
    expected = None
    lacks = MappingProxyType({"ordered": "puts the second best last"})

    def make(self, **config):
        return LostInTheMiddleReranker(config)


class TestThreshold(RerankerSuite):
    expected = None
    lacks = MappingProxyType({"unscored": "refuses them by default"})

    def make(self, **config):
        return ScoreThreshold({"threshold": 0.1, **config})


class TestLLM(RerankerSuite):
    @pytest.fixture(autouse=True, params=["listwise", "pointwise"])
    def judge(self, request):
        def answer(asked):
            text = content_of(asked["messages"][-1])
            if "Passages:" not in text:
                return "9" if "Nile" in text else "1"
            lines = re.findall(r"^\[(\d+)\] (.*)$", text, re.MULTILINE)
            return str([int(n) for n, shown in sorted(lines, key=lambda x: "Nile" not in x[1])])

        with ModelServer(answer=answer) as server:
            self.config = {"model": "m", "base_url": server.url, "mode": request.param}
            yield

    def make(self, **config):
        return LLMbasedReranker({**self.config, **config})


class TestCompressor(RefinerSuite):
    budget = "max_tokens"

    def make(self, **config):
        return ContextCompressor({"max_tokens": 30, **config})


class TestCompressorOfSpans(RefinerSuite):
    budget = "max_tokens"

    def make(self, **config):
        return ContextCompressor({"max_tokens": 30, "output": "spans", **config})


@pytest.mark.parametrize("method", ["exact", "shingles", "minhash", "embedding"])
class TestDeduplicate(RefinerSuite):
    @pytest.fixture(autouse=True)
    def chosen(self, method):
        self.method = method

    def make(self, **config):
        embed = {"embed": "hash"} if self.method == "embedding" else {}
        return Deduplicate({"method": self.method, **embed, **config})


class TestLongRefiner(RefinerSuite):
    extractive = False
    budget = "budget"

    @pytest.fixture(autouse=True)
    def writer(self):
        def answer(asked):
            helps = "Nile" in content_of(asked["messages"][-1])
            return "The Nile flows through Egypt [2]." if helps else "NONE"

        with ModelServer(answer=answer) as server:
            self.url = server.url
            yield

    def make(self, **config):
        return LongRefinerAdapter({"model": "m", "base_url": self.url, "budget": 20, **config})
