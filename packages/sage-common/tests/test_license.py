import pytest

from sage.common import license as licensing
from sage.common.errors import AuthError, ConfigError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGE_HOME", str(tmp_path))
    monkeypatch.delenv(licensing.VARIABLE, raising=False)


def test_a_plugin_gets_the_stored_key_or_a_clear_error(monkeypatch):
    with pytest.raises(
        AuthError, match=r"the accelerator asks .* `sage license activate --key KEY"
    ):
        licensing.require_enterprise_key("the accelerator")
    path = licensing.store_key(" KEY-1234-5678-9012 \n")
    assert path.stat().st_mode & 0o777 == 0o600
    key = licensing.require_enterprise_key("the accelerator")
    assert key.reveal() == "KEY-1234-5678-9012"
    assert "KEY" not in f"{key} {key!r}"
    assert licensing.masked(key) == "********9012"
    monkeypatch.setenv(licensing.VARIABLE, "short")
    given = licensing.enterprise_key()
    assert given is not None
    assert (given.reveal(), licensing.masked(given)) == ("short", "********")
    assert licensing.remove_key()
    assert not licensing.remove_key()


def test_what_is_no_key_is_refused():
    for text in ("", "  \n", "two\nlines", "x" * 5000):
        with pytest.raises(ConfigError, match="must be one line"):
            licensing.store_key(text)
    assert licensing.enterprise_key() is None


def test_a_key_that_others_can_read_is_a_problem():
    assert licensing.exposed() is None
    licensing.store_key("KEY").chmod(0o644)
    assert "chmod 600" in str(licensing.exposed())
