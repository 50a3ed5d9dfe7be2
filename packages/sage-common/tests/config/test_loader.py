import json
import pickle
import textwrap

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sage.common.config import Secret, load_config
from sage.common.config.interpolation import interpolate
from sage.common.config.settings import load_settings, settings_files
from sage.common.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    def write(text, name="config.yaml"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return file

    return write


def load(file, **environ):
    return load_config(file, environ=environ)


def problem(file, **environ):
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ=environ)
    return str(caught.value)


SEED = {
    "source": {"file_path": "data/questions.txt", "batch_size": 10},
    "retriever": {"collection_name": "knowledge_base", "top_k": 5, "similarity_threshold": 0.7},
}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", yaml.safe_dump(SEED)),
        ("c.json", json.dumps(SEED)),
        (
            "c.toml",
            (
                '[source]\nfile_path = "data/questions.txt"\nbatch_size = 10\n[retriever]\n'
                'collection_name = "knowledge_base"\ntop_k = 5\nsimilarity_threshold = 0.7\n'
            ),
        ),
    ],
)
def test_the_three_formats_say_the_same(write, name, text):
    config = load(write(text, name))
    assert config == SEED
    assert isinstance(config, dict)
    assert yaml.safe_load(yaml.safe_dump(config)) == SEED
    assert json.loads(json.dumps(config)) == SEED
    assert pickle.loads(pickle.dumps(config)) == SEED


def test_old_name_is_the_same_function():
    from sage.utils.config.loader import load_config as old

    assert old is load_config


def test_missing_file_names_the_near_one(write):
    file = write("a: 1", "config.yaml")
    message = problem(file.with_name("confg.yaml"))
    assert "confg.yaml: no such file" in message
    assert "did you mean 'config.yaml'?" in message


def test_malformed_yaml_has_line_and_column(write):
    message = problem(write("a: 1\nb: [1, 2\nc: 3\n"))
    assert "config.yaml:3:" in message


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        (
            "c.yaml",
            "a: 1\nb:\n  c: 1\n  c: 2\n",
            "c.yaml:4:3: the key 'c' is given twice (first in line 3)",
        ),
        ("c.json", '{"a": {"c": 1, "c": 2}}', "c.json: the key 'c' is given twice"),
        ("c.toml", "a = 1\na = 2\n", "c.toml: Cannot overwrite a value"),
        ("c.json", '{"a": }', "c.json:1:7"),
        ("c.ini", "a=1", "cannot tell the format from the ending '.ini'"),
        ("c.yaml", "- 1\n- 2\n", "must hold a mapping (key: value) at the top, got list"),
        ("c.yaml", "a: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    ],
)
def test_bad_files_are_explained(write, name, text, where):
    assert where in problem(write(text, name))


def test_merge_keys_are_not_duplicates(write):
    file = write(
        """
        base: &base {a: 1, b: 2}
        x:
          deep: &deep {<<: *base, b: 3}
        y: {<<: *deep, b: 4}
        """
    )
    assert load(file)["y"] == {"a": 1, "b": 4}


def test_alias_that_holds_itself_is_refused(write):
    assert "alias" in problem(write("a: &a [*a]"))


def test_aliases_that_explode_are_refused(write):
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "too large" in problem(write("\n".join(lines)))


def test_interpolation_types_what_is_not_quoted(write):
    file = write(
        """
        port: ${PORT:-8080}
        ratio: ${RATIO}
        text: "${PORT:-8080}"
        url: http://${HOST:-localhost}:${PORT:-8080}/v1
        flag: ${FLAG:-true}
        empty: ${EMPTY:-}
        comment: ${COMMENT}
        mapping: ${MAPPING}
        literal: $${PORT}
        nested: ${A:-${B:-c}}
        """
    )
    config = load(file, RATIO="1e-3", COMMENT="a # b", MAPPING="a: b", HOST="")
    assert config == {
        "port": 8080,
        "ratio": 0.001,
        "text": "8080",
        "url": "http://localhost:8080/v1",
        "flag": True,
        "empty": "",
        "comment": "a # b",
        "mapping": "a: b",
        "literal": "${PORT}",
        "nested": "c",
    }


def test_unset_variable_names_file_key_and_variable(write):
    message = problem(write("generator:\n  keys: [a, '${OPENAI_KY}']\n"), OPENAI_KEY="x")
    assert message.endswith(
        "config.yaml: generator.keys[1]: the environment variable 'OPENAI_KY' is not set; "
        "did you mean 'OPENAI_KEY'? set it, or give a default: ${OPENAI_KY:-...}"
    )


@pytest.mark.parametrize("text", ["${A", "${1A}", "${A B}", "${}"])
def test_malformed_references_are_explained(text):
    with pytest.raises(ConfigError, match="config: key: "):
        interpolate(text, {}, "config: key")


@given(st.text().filter(lambda text: "${" not in text))
def test_text_without_references_is_untouched(text):
    assert interpolate(text, {}, "") == text
    assert interpolate("<${V}>", {"V": text}, "") == f"<{text}>"


def test_includes_are_merged_beneath(write):
    write("retriever: {top_k: 1, collection_name: base}\nsink: {a: 1}\n", "parts/base.yaml")
    write('{"retriever": {"top_k": 2}}', "parts/more.json")
    write("Hello {name}\n", "parts/prompt.txt")
    write("template: from include\n", "parts/promptor.yaml")
    file = write(
        """
        include: [parts/base.yaml, parts/more.json]
        retriever: {collection_name: mine}
        promptor: !include parts/promptor.yaml
        """
    )
    config = load(file)
    assert config == {
        "retriever": {"top_k": 2, "collection_name": "mine"},
        "sink": {"a": 1},
        "promptor": {"template": "from include"},
    }
    assert config.origin("retriever", "top_k") == "parts/more.json"
    assert config.origin("retriever", "collection_name") == str(file)


def test_include_circle_is_named(write):
    write("include: config.yaml", "b.yaml")
    assert "circle: config.yaml → b.yaml → config.yaml" in problem(write("include: b.yaml"))


def test_include_circle_through_a_value_is_named(write):
    assert "circle" in problem(write("x: !include config.yaml"))


@pytest.mark.parametrize("target", ["../secret.yaml", "/etc/passwd", "parts/../../secret.yaml"])
def test_includes_stay_inside(write, target):
    write("a: 1", "secret.yaml")
    message = problem(write(f"include: {target}", "project/config.yaml"))
    assert "leads outside" in message or "must be relative" in message


def test_link_that_leads_outside_is_not_included(write, tmp_path):
    write("a: 1", "secret.yaml")
    file = write("include: link.yaml", "project/config.yaml")
    (tmp_path / "project" / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    assert "leads outside" in problem(file)


def test_precedence(write):
    file = write("a: {file: file, env: file, arg: file}")
    config = load_config(
        file,
        defaults={"a": {"default": "default", "file": "default"}},
        overrides={"a.arg": "arg"},
        environ={"SAGE_A__ENV": "env", "SAGE_A__ARG": "env"},
    )
    assert config["a"] == {"default": "default", "file": "file", "env": "env", "arg": "arg"}
    assert config.origin("a", "default") == "defaults"
    assert config.origin("a", "env") == "environment variable SAGE_A__ENV"
    assert config["a"].origin("arg") == "arguments"


def test_environment_is_typed_by_what_is_there(write):
    file = write("Retriever: {Top_K: 5, name: kb, tags: [a]}\n")
    config = load(
        file,
        SAGE_RETRIEVER__TOP_K="7",
        SAGE_RETRIEVER__NAME="123",
        SAGE_RETRIEVER__TAGS="[x, 2]",
        SAGE_NEW__SECTION__KEY="true",
        SAGE_HOME="/nowhere",
        SAGE_DEBUG="1",
        OTHER__X="1",
    )
    assert config == {
        "Retriever": {"Top_K": 7, "name": "123", "tags": ["x", 2]},
        "new": {"section": {"key": True}},
    }


def test_environment_can_be_turned_off_and_renamed(write):
    file = write("a: {b: 1}")
    environ = {"SAGE_A__B": "2", "APP_A__B": "3"}
    assert load_config(file, environ=environ, env_prefix=None) == {"a": {"b": 1}}
    assert load_config(file, environ=environ, env_prefix="APP_") == {"a": {"b": 3}}


def test_environment_cannot_read_files(write):
    config = load(write("a: {b: 1, c: x}"), SAGE_A__B="!include /etc/passwd", SAGE_A__D="[!x y]")
    assert config["a"] == {"b": "!include /etc/passwd", "c": "x", "d": "[!x y]"}


def test_secret_references_are_read_when_used(write, tmp_path, monkeypatch):
    (tmp_path / "key.txt").write_text("file-value\n")
    file = write(
        """
        a: env:TEST_LOADER_KEY
        b: file:key.txt
        c: env:TEST_LOADER_UNSET
        d: file:///not/a/reference
        e: ${REF}
        """
    )
    config = load(file, REF="env:TEST_LOADER_KEY")
    monkeypatch.setenv("TEST_LOADER_KEY", "env-value")
    assert config["a"].reveal() == "env-value"
    assert config["b"].reveal() == "file-value"
    assert config["d"] == "file:///not/a/reference"
    assert isinstance(config["e"], Secret)
    with pytest.raises(ConfigError, match=r"config\.yaml: c: the secret 'env:TEST_LOADER_UNSET'"):
        config["c"].reveal()


def test_environment_replaces_a_secret_by_a_secret(write):
    config = load(write("a: {key: env:X}"), SAGE_A__KEY="12345")
    assert config["a"]["key"].reveal() == "12345"


def test_settings_of_user_and_project(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    assert settings_files(tmp_path) == []
    assert load_settings(project=tmp_path) == {}
    user = tmp_path / "home" / "config" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text('[server]\nhost = "127.0.0.1"\nport = 1\n')
    project = tmp_path / "sage.yaml"
    project.write_text("server: {port: 2}")
    config = load_settings(project=tmp_path, overrides={"server.tls": True})
    assert config == {"server": {"host": "127.0.0.1", "port": 2, "tls": True}}
    assert config.origin("server", "host") == str(user)
    assert config.origin("server", "port") == str(project)
