"""The records of a RAG pipeline: what they say about themselves."""

from __future__ import annotations

import pytest

from sage.lib.types import Prompt, Query


@pytest.mark.parametrize(("tokens", "facts"), [(None, {}), (0, {}), (12, {"tokens": 12})])
def test_a_prompt_says_no_tokens_that_nobody_counted(tokens, facts):
    prompt = Prompt(messages=(), query=Query(text="why"), version="abc", tokens=tokens)
    assert prompt.lineage_facts()["prompt"] == {"version": "abc", **facts}
