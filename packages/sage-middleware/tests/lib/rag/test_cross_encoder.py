import math

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, PluginError
from sage.lib.io.sink import MemorySink
from sage.lib.rag.reranker import CrossEncoderReranker
from sage.lib.types import Document, Query, Retrieved
from sage.middleware.testing.rerankers import RerankerSuite

pytest.importorskip("torch")
pytest.importorskip("transformers")

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "nile",
    "river",
    "paris",
    "city",
    "long",
    "is",
]


def make_model(folder, outputs):
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        PreTrainedTokenizerFast,
    )

    backend = Tokenizer(WordLevel({w: n for n, w in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    backend.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)
    torch.manual_seed(7)
    BertForSequenceClassification(
        BertConfig(
            vocab_size=len(WORDS),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            num_labels=outputs,
            initializer_range=0.5,
        )
    ).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("one"), 1)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("three"), 3)


class TestCrossEncoder(RerankerSuite):
    expected = None  # the model's weights are random

    @pytest.fixture(autouse=True)
    def folder(self, model):
        self.model = model

    def make(self, **config):
        return CrossEncoderReranker({"model": self.model, "local_files_only": True, **config})


def items():
    texts = ["nile river", "paris is city", "long long river is nile", "city", "is " * 40]
    return [
        Retrieved(
            query=Query(text=question),
            passages=tuple(Document(id=str(n), text=t, score=0.5) for n, t in enumerate(texts)),
        )
        for question in ("nile long", "city paris")
    ]


def reference(folder, question, text):
    """One pair at a time, by the model itself."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    encoded = tokenizer(
        question, text, truncation="only_second", max_length=64, return_tensors="pt"
    )
    with torch.inference_mode():
        return model(**encoded).logits[0].tolist()


def test_scores_equal_the_models_one_pair_at_a_time(model, run_step):
    reranker = CrossEncoderReranker({"model": model, "batch_size": 2, "local_files_only": True})
    for given, found in zip(items(), run_step(reranker, *items()), strict=True):
        texts = {d.id: d.text for d in given.passages}
        for d in found.passages:
            (logit,) = reference(model, given.query.text, texts[d.id])
            assert d.score == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-5)
            assert d.metadata["retrieval_score"] == 0.5
        scores = [d.score for d in found.passages]
        assert scores == sorted(scores, reverse=True) and len(set(scores)) > 1


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_a_batch_of_items_gives_what_single_items_give(model, context, batch_size):
    reranker = CrossEncoderReranker({"model": model, "batch_size": batch_size})
    reranker.open(context())
    together = reranker.execute_batch([*items(), "a question without passages"])
    single = [reranker.execute(i) for i in items()]
    reranker.close()
    assert together[2].passages == ()
    for a, b in zip(together[:2], single, strict=True):
        assert [d.id for d in a.passages] == [d.id for d in b.passages]
        assert [d.score for d in a.passages] == pytest.approx(
            [d.score for d in b.passages], abs=1e-5
        )


def test_classes_labels_and_logits(classifier, run_step):
    given = items()[0]
    by_class = []
    for label in range(3):
        config = {"model": classifier, "label": label}
        (found,) = run_step(CrossEncoderReranker(config), given)
        by_class.append({d.id: d.score for d in found.passages})
    for n in by_class[0]:
        assert sum(scores[n] for scores in by_class) == pytest.approx(1, abs=1e-5)
    (last,) = run_step(CrossEncoderReranker({"model": classifier}), given)
    assert {d.id: d.score for d in last.passages} == pytest.approx(by_class[2])
    (raw,) = run_step(CrossEncoderReranker({"model": classifier, "activation": "none"}), given)
    texts = {d.id: d.text for d in given.passages}
    for d in raw.passages:
        assert d.score == pytest.approx(
            reference(classifier, "nile long", texts[d.id])[2], abs=1e-4
        )


def test_long_questions_leave_room_for_the_passage(model, run_step):
    given = Retrieved(query=Query(text="nile river " * 500), passages=items()[0].passages)
    (found,) = run_step(CrossEncoderReranker({"model": model, "top_k": 2}), given)
    assert len(found.passages) == 2


def test_what_cannot_be_loaded_says_why(model, tmp_path, context):
    offline = {"local_files_only": True}
    with pytest.raises(PluginError, match="cannot load the model"):
        CrossEncoderReranker({"model": str(tmp_path / "none"), **offline}).open(context())
    with pytest.raises(ConfigError, match="1 outputs"):
        CrossEncoderReranker({"model": model, "label": 1}).open(context())
    with pytest.raises(ConfigError, match="device"):
        CrossEncoderReranker({"model": model, "device": "toaster"}).open(context())


def test_in_a_job(model):
    sink = MemorySink()
    env = LocalEnvironment("cross")
    env.from_collection(items()).map(CrossEncoderReranker, {"model": model, "top_k": 1}).sink(sink)
    env.submit().wait()
    assert [len(found.passages) for found in sink.items] == [1, 1]
