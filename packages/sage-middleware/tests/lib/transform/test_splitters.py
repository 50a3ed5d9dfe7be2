import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import ConfigError
from sage.lib.transform import (
    CharacterSplitter,
    MarkdownSplitter,
    RecursiveSplitter,
    SentenceSplitter,
    TokenSplitter,
    sentences,
)
from sage.lib.types import Document
from sage.middleware.testing.transforms import SplitterSuite
from sage.middleware.tokens import get_tokenizer

SPLITTERS = [
    (CharacterSplitter, {}),
    (CharacterSplitter, {"separator": "\n"}),
    (TokenSplitter, {}),
    (SentenceSplitter, {}),
    (SentenceSplitter, {"unit": "tokens"}),
    (RecursiveSplitter, {}),
    (RecursiveSplitter, {"unit": "tokens", "separators": ["\n\n", ". ", "sentence"]}),
]


class TestCharacter(SplitterSuite):
    def make(self):
        return CharacterSplitter({"chunk_size": 40, "overlap": 10})


class TestCharacterSeparated(SplitterSuite):
    def make(self):
        return CharacterSplitter({"chunk_size": 40, "overlap": 10, "separator": "\n\n"})


class TestToken(SplitterSuite):
    def make(self):
        return TokenSplitter({"chunk_size": 12, "overlap": 3})


class TestSentence(SplitterSuite):
    def make(self):
        return SentenceSplitter({"chunk_size": 60, "overlap": 30})


class TestRecursive(SplitterSuite):
    def make(self):
        return RecursiveSplitter({"chunk_size": 50, "overlap": 20})


class TestMarkdown(SplitterSuite):
    loses = True

    def make(self):
        return MarkdownSplitter({"max_chars": 60})


@given(
    st.sampled_from(SPLITTERS),
    st.text(alphabet=st.sampled_from("ab .!?\n\tÄ。中👩\u0301"), max_size=120),
    st.integers(1, 20),
    st.integers(0, 19),
)
def test_passages_are_exact_bounded_and_lose_nothing(which, text, size, overlap):
    splitter, options = which
    overlap = min(overlap, size - 1)
    found = list(
        splitter({"chunk_size": size, "overlap": overlap, **options}).execute(
            Document(id="d", text=text)
        )
    )
    by_tokens = splitter is TokenSplitter or options.get("unit") == "tokens"
    count = get_tokenizer("simple").count if by_tokens else len
    covered = set()
    last = (-1, -1)
    for passage in found:
        assert text[passage.start : passage.end] == passage.text == passage.text.strip()
        assert count(passage.text) <= size
        assert passage.start > last[0]
        assert passage.end > last[1]
        if passage.start < last[1]:
            assert count(text[passage.start : last[1]]) <= overlap
        last = (passage.start, passage.end)
        covered.update(range(passage.start, passage.end))
    assert all(i in covered or char.isspace() for i, char in enumerate(text))


def texts(splitter, text, **options):
    return [p.text for p in splitter(options).execute(Document(id="d", text=text))]


def test_words_stay_whole_and_are_repeated():
    found = texts(CharacterSplitter, "alpha beta gamma delta", chunk_size=12, overlap=6)
    assert found == ["alpha beta", "beta gamma", "gamma delta"]


def test_a_separator_joins_pieces_up_to_the_size():
    assert texts(CharacterSplitter, "aa|bb|cc|dddddddd", chunk_size=6, separator="|") == [
        "aa|bb|", "cc|", "dddddd", "dd",
    ]  # fmt: skip


def test_tokens_are_counted_by_the_named_tokenizer():
    text = "internationalisation of token budgets"
    found = texts(TokenSplitter, text, chunk_size=4)
    assert [get_tokenizer("simple").count(t) for t in found] == [4, 2]
    assert " ".join(found) == text


def test_a_vocabulary_of_byte_pairs_works_too(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    backend = tokenizers.Tokenizer(BPE())
    backend.pre_tokenizer = ByteLevel()
    text = "der Übermut 中文 reist 👩‍👩‍👧 weit, sehr weit, " * 30
    backend.train_from_iterator(
        [text], BpeTrainer(vocab_size=300, initial_alphabet=ByteLevel.alphabet())
    )
    path = tmp_path / "tokenizer.json"
    backend.save(str(path))
    name = f"tokenizers:{path}"
    found = list(
        TokenSplitter({"chunk_size": 20, "overlap": 5, "tokenizer": name}).execute(
            Document(id="d", text=text)
        )
    )
    assert len(found) > 5
    assert all(get_tokenizer(name).count(p.text) <= 20 for p in found)
    assert all(text[p.start : p.end] == p.text for p in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Who met J. R. Smith. They left.", ["Dr. Who met J. R. Smith.", "They left."]),
        ("See e.g. Fig. 3 for it. Really?! Yes.", ["See e.g. Fig. 3 for it.", "Really?!", "Yes."]),
        ("Es war z.B. am 3. mai so. Dann nicht.", ["Es war z.B. am 3. mai so.", "Dann nicht."]),
        ("这是一。那是二！好", ["这是一。", "那是二！", "好"]),
        ("Title\n\nBody one.\nBody two.", ["Title", "Body one.", "Body two."]),
        ('He said "no." Then 3.14 fell.', ['He said "no."', "Then 3.14 fell."]),
    ],
)
def test_sentences(text, expected):
    assert [text[s:e] for s, e in sentences(text)] == expected


def test_sentences_are_packed_and_repeated():
    text = "One is here. Two is here. Three is here."
    assert texts(SentenceSplitter, text, chunk_size=28, overlap=14) == [
        "One is here. Two is here.", "Two is here. Three is here.",
    ]  # fmt: skip


def test_recursion_prefers_the_largest_boundary():
    text = "Head\n\nA short paragraph.\n\nA long one. It has sentences. And more words than fit."
    assert texts(RecursiveSplitter, text, chunk_size=30) == [
        "Head\n\nA short paragraph.", "A long one. It has sentences.", "And more words than fit.",
    ]  # fmt: skip


def test_sizes_that_do_not_advance_are_refused():
    for splitter in (CharacterSplitter, TokenSplitter, SentenceSplitter, RecursiveSplitter):
        with pytest.raises(ConfigError, match="overlap"):
            splitter({"chunk_size": 10, "overlap": 10})
        with pytest.raises(ConfigError, match="chunk_size"):
            splitter({"chunk_size": 0})


def test_an_unknown_tokenizer_is_named_when_the_step_opens(context):
    with pytest.raises(ConfigError, match="nonesuch"):
        TokenSplitter({"tokenizer": "nonesuch"}).open(context())
