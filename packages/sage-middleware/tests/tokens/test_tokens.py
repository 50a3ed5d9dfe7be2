import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import ConfigError
from sage.middleware.tokens import get_tokenizer


def test_what_a_simple_token_is():
    simple = get_tokenizer("simple")
    assert simple.count("Hello, world!") == 4
    assert simple.count("internationalization") == 3
    assert simple.count("1234567 3.5") == 3 + 3
    assert simple.count("日本語 und 中文") == 6
    assert simple.count("  \n") == 0


@given(st.text(max_size=80), st.integers(0, 30))
def test_a_cut_keeps_the_limit_and_as_much_as_fits(text, limit):
    simple = get_tokenizer()
    end = simple.cut(text, limit)
    assert simple.count(text[:end]) == min(limit, simple.count(text))


def test_a_tokenizer_file(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"[UNK]": 0, "one": 1, "two": 2}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.save(str(tmp_path / "tokenizer.json"))
    found = get_tokenizer(f"tokenizers:{tmp_path / 'tokenizer.json'}")
    assert found.count("one two three") == 3
    assert "one two three"[: found.cut("one two three", 2)] == "one two"


@pytest.mark.parametrize("name", ["gpt", "simple:x", "tokenizers:", "tokenizers:/nowhere.json"])
def test_unknown_names_say_what_is_expected(name):
    with pytest.raises(ConfigError, match="tokenizer"):
        get_tokenizer(name)
