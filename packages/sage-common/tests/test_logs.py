import io
import logging

import pytest

from sage.common.logs import set_up_logging
from sage.common.secrets import Secret


@pytest.fixture
def stream():
    text = io.StringIO()
    logger = logging.getLogger("sage")
    before = (logger.level, logger.propagate, list(logger.handlers))
    yield text
    logger.setLevel(before[0])
    logger.propagate = before[1]
    logger.handlers[:] = before[2]


def test_secrets_are_masked_in_message_arguments_and_traceback(stream):
    secret = Secret("sk-canary-logs")
    set_up_logging(0, stream)
    log = logging.getLogger("sage.test")
    log.warning("key %s and %s", secret.reveal(), secret)
    try:
        raise ValueError(f"refused {secret.reveal()}")
    except ValueError:
        log.exception("it failed")
    text = stream.getvalue()
    assert "canary" not in text
    assert text.count("********") == 3
    assert "ValueError: refused ********" in text


def test_quiet_by_default_and_set_up_once(stream):
    set_up_logging(1, io.StringIO())
    set_up_logging(0, stream)
    logging.getLogger("sage.test").info("not shown")
    logging.getLogger("sage.test").warning("shown")
    assert stream.getvalue().count("\n") == 1
