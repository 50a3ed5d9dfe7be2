import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.api import LocalEnvironment
from sage.api.context import RuntimeContext
from sage.common.errors import ConfigError, ModelError
from sage.lib.io.sink import MemorySink
from sage.lib.rag.refiner import ContextCompressor, Deduplicate, LongRefinerAdapter
from sage.lib.rag.refiner.similarity import alike, by_minhash, shingles
from sage.lib.types import Document, Query, Retrieved
from sage.middleware.testing.model_server import ModelServer
from sage.middleware.tokens import get_tokenizer

COUNT = get_tokenizer("simple").count
PARIS = (
    "Many visitors come each year. Paris is the capital of France. It rains in winter. "
    "The Louvre is a museum. Paris has two million inhabitants."
)
WORDS = " ".join(f"word{n}" for n in range(100))
LYON = "Lyon is in France. Its kitchens are famous. The Rhône passes through it."


def item(*texts, question="What is the capital of France?"):
    passages = tuple(
        Document(id=f"d{n}", text=text, score=1 - n / 10) for n, text in enumerate(texts)
    )
    return Retrieved(query=Query(text=question, id="q"), passages=passages)


def tokens(retrieved):
    return sum(COUNT(d.text) for d in retrieved.passages)


def test_the_sentence_that_answers_survives_a_small_budget(run_step):
    (out,) = run_step(ContextCompressor({"max_tokens": 8}), item(LYON, PARIS))
    (kept,) = out.passages
    assert kept.id == "d1" and kept.text == "Paris is the capital of France."
    ((start, end),) = kept.metadata["spans"]
    assert PARIS[start:end] == kept.text
    assert kept.score == 0.9


def test_pieces_are_in_the_order_of_the_text_with_their_offsets(run_step):
    (out,) = run_step(
        ContextCompressor({"max_tokens": 16}),
        item(PARIS, question="How many inhabitants has the capital Paris?"),
    )
    (kept,) = out.passages
    assert kept.text == "Paris is the capital of France. … Paris has two million inhabitants."
    assert [PARIS[a:b] for a, b in kept.metadata["spans"]] == kept.text.split(" … ")
    assert tokens(out) <= 16


def test_spans_as_passages_of_their_own_point_into_the_document(run_step):
    document = "Heading\n\n" + PARIS
    passage = Document(id="p", text=PARIS, start=9, end=len(document), parent_id="doc")
    given = Retrieved(query=Query(text="inhabitants of the capital Paris"), passages=(passage,))
    config = {"max_tokens": 16, "output": "spans"}
    (out,) = run_step(ContextCompressor(config), given)
    assert len(out.passages) == 2
    for piece in out.passages:
        assert document[piece.start : piece.end] == piece.text and piece.parent_id == "doc"
    loose = Document(id="p", text=PARIS)
    (out,) = run_step(ContextCompressor(config), Retrieved(query=given.query, passages=(loose,)))
    for piece in out.passages:
        assert PARIS[piece.start : piece.end] == piece.text and piece.parent_id == "p"


def test_what_fits_comes_through_unless_always(run_step):
    given_item = item(PARIS, LYON)
    (same,) = run_step(ContextCompressor({"max_tokens": 1000}), given_item)
    assert same == given_item
    (less,) = run_step(ContextCompressor({"max_tokens": 1000, "always": True}), given_item)
    assert tokens(less) < tokens(given_item)
    assert "capital of France" in less.passages[0].text


def test_a_sentence_larger_than_the_budget_is_cut_and_no_match_takes_the_beginning(run_step):
    (cut,) = run_step(ContextCompressor({"max_tokens": 3}), item(PARIS))
    assert cut.passages[0].text == "Paris is the" and tokens(cut) == 3
    (blind,) = run_step(ContextCompressor({"max_tokens": 7}), item(LYON, PARIS, question="xyzzy"))
    assert blind.passages[0].text == "Lyon is in France."


def test_compression_by_embeddings(run_step):
    config = {"max_tokens": 8, "embed": lambda text: [text.count("museum") + 0.01, 0.1]}
    (out,) = run_step(ContextCompressor(config), item(LYON, PARIS, question="a museum"))
    assert out.passages[0].text == "The Louvre is a museum."


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text("abc. \n!?é中", max_size=80), max_size=5),
    st.text("abc 中", max_size=10),
    st.integers(1, 40),
    st.sampled_from(["passages", "spans"]),
)
def test_never_more_than_the_budget_and_only_what_was_there(texts, question, budget, output):
    compressor = ContextCompressor({"max_tokens": budget, "output": output, "always": True})
    compressor.open(RuntimeContext(job_id="j", job_name="t", operator="o", uid="u"))
    given_item = item(*texts, question=question)
    out = compressor.execute(given_item)
    assert tokens(out) <= budget
    texts_by_id = {d.id: d.text for d in given_item.passages}
    for d in out.passages:
        source = texts_by_id[d.id.partition("[")[0]]
        spans = d.metadata.get("spans", [[d.start or 0, d.end or len(source)]])
        assert " … ".join(source[a:b] for a, b in spans) == d.text


NEAR = [
    "The quick brown fox jumps over the lazy dog near the river bank today.",
    "THE QUICK brown fox  jumps over the lazy dog near the river bank, today!",
    "The quick brown fox jumps over the lazy dog near the river bank yesterday.",
    "Checkpoints make jobs survive.",
]


@pytest.mark.parametrize(
    ("config", "kept", "duplicates"),
    [
        ({"method": "exact"}, ["d0", "d2", "d3"], ["d1"]),
        ({"method": "shingles", "threshold": 0.7}, ["d0", "d3"], ["d1", "d2"]),
        ({"method": "minhash", "threshold": 0.7}, ["d0", "d3"], ["d1", "d2"]),
        ({"method": "shingles", "threshold": 1.0}, ["d0", "d2", "d3"], ["d1"]),
        ({"method": "embedding", "embed": lambda t: [t.lower().count("fox"), 0.1 + ("jobs" in t)]},
         ["d0", "d3"], ["d1", "d2"]),
    ],
)  # fmt: skip
def test_duplicates_go_and_are_named(config, kept, duplicates, run_step):
    (out,) = run_step(Deduplicate(config), item(*NEAR))
    assert [d.id for d in out.passages] == kept
    assert out.passages[0].metadata["duplicates"] == duplicates
    assert "duplicates" not in out.passages[-1].metadata


def test_containment_finds_overlapping_chunks(run_step):
    whole = "One two three four five six seven eight nine ten."
    part = "three four five six seven"
    (jaccard,) = run_step(Deduplicate({"threshold": 0.9}), item(whole, part))
    (contained,) = run_step(
        Deduplicate({"threshold": 0.9, "measure": "containment"}), item(whole, part)
    )
    assert len(jaccard.passages) == 2 and [d.id for d in contained.passages] == ["d0"]


def test_empty_texts_are_no_duplicates_of_others(run_step):
    for method in ("exact", "shingles", "minhash"):
        (out,) = run_step(Deduplicate({"method": method}), item("", "words here", "?!"))
        assert len(out.passages) == 3, method


def test_minhash_finds_what_comparing_all_pairs_finds():
    rng = random.Random(5)
    texts = [" ".join(rng.choices("abcdefghij", k=60)) for _ in range(60)]
    for text in texts[:40]:
        words = text.split()
        for n in rng.sample(range(60), rng.randint(0, 3)):
            words[n] = "z"
        texts.append(" ".join(words))
    sets = [shingles(text, 2) for text in texts]
    exact = set(alike(sets, 0.8, "jaccard"))
    found = set(by_minhash(sets, 0.8))
    assert found <= exact and len(exact) >= 20
    assert len(found) >= 0.97 * len(exact)


def refine(context, config, given_item):
    async def run():
        ctx = context()
        refiner = LongRefinerAdapter({"model": "m", "max_retries": 0, **config})
        refiner.open(ctx)
        try:
            return await refiner.execute(given_item), ctx._counters
        finally:
            refiner.close()

    return asyncio.run(run())


def test_the_model_condenses_and_its_sources_are_kept(context):
    with ModelServer(answer=lambda r: "Paris is the capital [2]. It is large [2, 3].") as server:
        config = {"base_url": server.url, "budget": 20}
        out, counted = refine(context, config, item(LYON, PARIS, PARIS))
    (one,) = out.passages
    assert one.text == "Paris is the capital. It is large."
    assert one.metadata == {"refined": True, "sources": ["d1", "d2"]} and one.score == 0.9
    assert out.query.id == "q" and counted["model_calls"] == 1


def test_a_reply_over_the_budget_is_cut_and_counted(context):
    with ModelServer(answer=lambda r: "word " * 100) as server:
        out, counted = refine(context, {"base_url": server.url, "budget": 10}, item(PARIS))
    assert tokens(out) == 10 and counted["truncated"] == 1


def test_many_passages_are_condensed_in_groups_and_nothing_is_lost(context):
    def answer(request):
        text = request["messages"][-1]["content"]
        helps = "Paris is the capital" in text
        return "Paris it is [1]." if helps else "NONE"

    with ModelServer(answer=answer) as server:
        config = {"base_url": server.url, "budget": 20, "max_input_tokens": 30}
        out, counted = refine(context, config, item(LYON, PARIS, LYON, WORDS))
    assert [d.text for d in out.passages] == ["Paris it is."]
    assert counted["model_calls"] == server.count >= 5
    shown = "".join(call.request["messages"][-1]["content"] for call in server.calls)
    assert all(f"word{n}" in shown for n in range(100)) and shown.count("Rhône") == 2


def test_nothing_that_helps_is_no_passage_and_what_fits_is_no_call(context):
    with ModelServer(answer=lambda r: " NONE.") as server:
        config = {"base_url": server.url, "budget": 10}
        out, _ = refine(context, config, item(PARIS))
        assert out.passages == () and server.count == 1
        fits, _ = refine(context, {**config, "budget": 500}, item(PARIS))
        assert fits == item(PARIS) and server.count == 1


def test_falling_back_only_when_asked_to(context):
    with ModelServer(faults=["500"] * 3) as server:
        config = {"base_url": server.url, "budget": 8}
        with pytest.raises(ModelError):
            refine(context, config, item(LYON, PARIS))
        extract, counted = refine(
            context, {**config, "on_model_error": "extract"}, item(LYON, PARIS)
        )
        keep, _ = refine(context, {**config, "on_model_error": "keep"}, item(LYON, PARIS))
    assert extract.passages[0].text == "Paris is the capital of France."
    assert counted["fallbacks"] == 1
    assert keep == item(LYON, PARIS)


def test_settings_are_checked():
    assert LongRefinerAdapter.effect is True
    with pytest.raises(ConfigError, match="model"):
        LongRefinerAdapter({})
    for cls, bad in [
        (ContextCompressor, {"max_tokens": 0}),
        (Deduplicate, {"method": "magic"}),
        (Deduplicate, {"threshold": 0}),
    ]:
        with pytest.raises(ConfigError, match=next(iter(bad))):
            cls(bad)


def test_refiners_in_a_job_by_their_registered_names():
    sink = MemorySink()
    with ModelServer(answer=lambda r: "The capital is Paris [1].") as server:
        env = LocalEnvironment("refine")
        (
            env.from_collection([item(PARIS, PARIS, LYON)])
            .map("Deduplicate", {"method": "exact"})
            .map("ContextCompressor", {"max_tokens": 20})
            .map(
                "LongRefinerAdapter",
                {"model": "m", "base_url": server.url, "budget": 10, "max_tokens": 50},
            )
            .sink(sink)
        )
        env.submit().wait()
    assert [d.text for d in sink.items[0].passages] == ["The capital is Paris."]


def refined(operator, config, *passages):
    sink = MemorySink()
    env = LocalEnvironment("refine")
    env.from_collection([item(*passages)]).map(operator, config).sink(sink)
    env.submit().wait(60)
    return sink.items[0].passages


def test_what_is_less_relevant_than_asked_is_left_out():
    texts = {}
    for least in (0.0, 0.4, 1.0):
        config = {"always": True, "min_relevance": least}
        texts[least] = " ".join(d.text for d in refined("ContextCompressor", config, LYON, PARIS))
    assert texts[1.0] == "Paris is the capital of France."
    assert len(texts[1.0]) < len(texts[0.4]) < len(texts[0.0])
    assert texts[0.4] == f"Lyon is in France. {texts[1.0]}"
    with pytest.raises(ConfigError, match="min_relevance"):
        ContextCompressor({"min_relevance": 1.5})


@pytest.mark.parametrize("method", ["shingles", "minhash"])
def test_longer_shingles_see_the_order_of_words(method):
    first = "one two three four five six seven eight"
    second = "eight seven six five four three two one"
    for size, left in ((1, 1), (2, 2), (8, 2)):
        config = {"method": method, "shingle": size, "threshold": 0.5}
        assert len(refined("Deduplicate", config, first, second)) == left
    # Of a text with fewer words all are one shingle.
    config = {"method": method, "shingle": 9, "threshold": 0.5}
    assert len(refined("Deduplicate", config, first, first, second)) == 2


@pytest.mark.parametrize(("permutations", "threshold"), [(8, 0.5), (21, 0.2), (100, 0.5), (8, 1)])
def test_signatures_that_are_long_enough_find_the_pairs(permutations, threshold):
    Deduplicate({"method": "minhash", "permutations": permutations, "threshold": threshold})
    draw = random.Random(7)
    found = 0
    for _ in range(300):
        words = [f"w{draw.random()}" for _ in range(60)]
        same = words[: round(60 * 2 * threshold / (1 + threshold))]
        other = same + [f"w{draw.random()}" for _ in range(60 - len(same))]
        sets = [shingles(" ".join(text), 1) for text in (words, other)]
        found += len(list(by_minhash(sets, threshold - 0.02, permutations)))
    assert found >= 290


def test_signatures_that_are_too_short_for_the_threshold_are_refused():
    config = {"method": "minhash", "permutations": 20, "threshold": 0.2}
    with pytest.raises(ConfigError, match=r"at least 21 for threshold 0\.2, got 20"):
        Deduplicate(config)
    Deduplicate({**config, "method": "shingles"})
