import copy
import json
import os
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import ConfigError
from sage.common.secrets import MASK, Secret, is_reference, redact


def test_no_text_form_shows_the_value():
    secret = Secret("sk-canary-1234")
    forms = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>20}",
        f"{secret} {secret!r}",
    ]
    forms += [repr([secret]), repr({"key": secret})]
    assert not any("canary" in form for form in forms)
    with pytest.raises(TypeError):
        json.dumps({"key": secret})
    with pytest.raises(TypeError):
        vars(secret)


def test_equality_and_hash():
    assert Secret("same") == Secret("same")
    assert hash(Secret("same")) == hash(Secret("same"))
    assert Secret("same") != Secret("other")
    assert Secret("same") != "same"
    assert Secret("é") == Secret("é")


def test_a_value_is_never_pickled():
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps({"key": Secret("sk-canary-1234")})


def test_a_reference_is_pickled_as_the_reference(monkeypatch):
    monkeypatch.setenv("TEST_SECRET_PICKLE", "sk-canary-5678")
    secret = Secret(reference="env:TEST_SECRET_PICKLE", origin="config.yaml: key")
    assert secret.reveal() == "sk-canary-5678"
    data = pickle.dumps(secret)
    assert b"canary" not in data
    code = "import pickle,sys; print(pickle.loads(sys.stdin.buffer.read()).reveal())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=data,
        capture_output=True,
        env={**os.environ, "TEST_SECRET_PICKLE": "read-there"},
        check=True,
    )
    assert done.stdout.decode().strip() == "read-there"


def test_copies_are_the_secret_itself():
    secret = Secret("sk-canary-1234")
    assert copy.copy(secret) is secret
    assert copy.deepcopy({"a": [secret]})["a"][0] is secret
    with pytest.raises(AttributeError):
        secret._value = "x"


def test_truth_is_whether_there_is_text():
    assert not Secret("")
    assert Secret("x")
    assert Secret(reference="env:TEST_SECRET_NOT_SET")


@pytest.mark.parametrize("text", ["env:NAME", "env:_a1", "file:/run/secrets/key", "file:key.txt"])
def test_references(text):
    assert is_reference(text)
    assert Secret.parse(text).reference == text


@pytest.mark.parametrize(
    "text", ["env:", "env:A B", "env:1A", "file:", "file:///x", "sk-1", "environ:X"]
)
def test_not_references(text):
    assert not is_reference(text)


def test_file_references_stay_in_their_folder(tmp_path):
    (tmp_path / "outside").write_text("x")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "key").write_text("value\n")
    assert Secret(reference="file:key", base=inner).reveal() == "value"
    assert Secret(reference=f"file:{tmp_path / 'outside'}", base=inner).reveal() == "x"
    with pytest.raises(ConfigError, match="leaves the folder"):
        Secret(reference="file:../outside", base=inner).reveal()
    with pytest.raises(ConfigError, match=r"cannot be read from .*: No such file"):
        Secret(reference="file:none", base=inner, origin="c.yaml: k").reveal()


@given(st.text(min_size=8), st.text(), st.text())
def test_known_values_are_masked_wherever_they_stand(value, before, after):
    secret = Secret(value)
    shown = redact(f"{before}{secret.reveal()}{after}")
    assert MASK in shown
    if value not in MASK and not any(value in part for part in (before + MASK, MASK + after)):
        assert value not in shown


def test_short_values_do_not_blank_out_words():
    assert str(Secret("test")) == MASK
    assert redact("the latest test") == "the latest test"
