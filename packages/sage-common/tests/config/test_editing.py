import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.config import load_config
from sage.common.config.editing import set_value
from sage.common.errors import ConfigError


@pytest.fixture
def edit(tmp_path):
    def edit(text, key, value, name="config.yaml"):
        file = tmp_path / name
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        set_value(file, key, value)
        return file.read_text(encoding="utf-8")

    return edit


BEFORE = """\
# what it searches
retriever:
  top_k: 5 # passages
  name: kb

  # how
  filter: {lang: en}
tags:
  - one
  - two # last
text: |
  kept
  as it is
"""


@pytest.mark.parametrize(
    ("key", "value", "old", "new"),
    [
        ("retriever.top_k", 7, "top_k: 5 # passages", "top_k: 7 # passages"),
        ("retriever.name", "a: b # c", "name: kb", "name: 'a: b # c'"),
        ("retriever.filter.lang", "x, y", "{lang: en}", "{lang: 'x, y'}"),
        ("retriever.filter.year", 2020, "{lang: en}", "{lang: en, year: 2020}"),
        ("retriever.filter", {}, "{lang: en}", "{}"),
        ("retriever.rerank.by", 2, "{lang: en}\n", "{lang: en}\n  rerank:\n    by: 2\n"),
        ("tags.1", "three", "- two # last", "- three # last"),
        ("tags", ["a"], "tags:\n  - one\n  - two # last", "tags:\n  [a] # last"),
        ("text", "gone\nover", "|\n  kept\n  as it is", '"gone\\nover"'),
        ("sink.path", "out.txt", "as it is\n", "as it is\nsink:\n  path: out.txt\n"),
    ],
)
def test_only_the_key_changes(edit, key, value, old, new):
    assert BEFORE.count(old) == 1
    assert edit(BEFORE, key, value) == BEFORE.replace(old, new)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "a:\n  b: 1\n"),
        ("# only a comment", "# only a comment\na:\n  b: 1\n"),
        ("a:\n", "a: {b: 1}\n"),
        ("a: {}\n", "a: {b: 1}\n"),
        ("a: null # yet\n", "a: {b: 1} # yet\n"),
        ("x: 1", "x: 1\na:\n  b: 1\n"),
        ("{x: 1}\n", "{x: 1, a: {b: 1}}\n"),
    ],
)
def test_sections_are_made(edit, before, after):
    assert edit(before, "a.b", 1) == after


def test_what_cannot_be_set_is_refused_and_the_file_left_alone(edit, tmp_path):
    for text, key, message in [
        ("a: 5\n", "a.b", "a is a value, not a section"),
        ("a: [1]\n", "a.1", "a is a list of 1, '1' is no place in it"),
        ("a: &x 5\nb: *x\n", "a", "a cannot be changed without touching other keys"),
        ("a: &x {c: 1}\nb: *x\n", "b.c", "b.c cannot be changed without touching other keys"),
        ("a: 1\n", "a..b", "is no key"),
    ]:
        with pytest.raises(ConfigError, match=message):
            edit(text, key, 2)
        assert (tmp_path / "config.yaml").read_text() == text
    with pytest.raises(ConfigError, match="writes YAML and JSON"):
        edit("a = 1\n", "a", 2, "config.toml")


def test_includes_and_variables_stay(edit):
    text = "x: !include other.yaml\nport: ${PORT:-80}\nkey: env:KEY\n"
    assert edit(text, "port", 81) == text.replace("${PORT:-80}", "81")


def test_json_and_permissions(edit, tmp_path):
    assert edit('{"a": {"b": 1}}', "a.b", "é", "c.json") == '{\n  "a": {\n    "b": "é"\n  }\n}\n'
    new = tmp_path / "new.yaml"
    set_value(new, "a", 1)
    assert new.stat().st_mode & 0o777 == 0o600
    new.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(new)
    set_value(link, "a", 2)
    assert link.is_symlink()
    assert new.read_text() == "a: 2\n"
    assert new.stat().st_mode & 0o777 == 0o640


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab- :#", max_size=3), inner)
    ),
    max_leaves=6,
)


@given(_VALUES, st.sampled_from(["retriever.top_k", "retriever.filter.lang", "tags.0", "new.one"]))
def test_any_value_comes_back(tmp_path_factory, value, key):
    file = tmp_path_factory.mktemp("edit") / "c.yaml"
    file.write_text(BEFORE, encoding="utf-8")
    set_value(file, key, value)
    found = load_config(file, environ={})
    for part in key.split("."):
        found = found[int(part)] if isinstance(found, list) else found[part]
    assert found == value
