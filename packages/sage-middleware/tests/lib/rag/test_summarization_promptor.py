import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError
from sage.lib.errors import ItemError
from sage.lib.rag.promptor import SummarizationPromptor
from sage.lib.types import Document, Query
from sage.middleware.tokens import get_tokenizer

TOKENS = get_tokenizer()


def content(item, **settings):
    return SummarizationPromptor(settings).execute(item).messages[-1].content


def test_documents_strings_and_mappings_are_texts():
    for item in (Document(id="d", text="A text."), "A text.", {"id": "d", "text": "A text."}):
        prompt = SummarizationPromptor({"max_words": 7}).execute(item)
        assert "at most 7 words. Say only" in prompt.messages[0].content
        assert "---\nA text.\n---" in prompt.messages[0].content
        assert prompt.passages[0].text == "A text."
        assert "question" not in prompt.messages[0].content
    assert SummarizationPromptor().execute(Document(id="d", text="x")).query.id == "d"


def test_passages_are_summarised_for_their_question():
    text = content(("What for?", ["One.", "Two."]), language="German")
    assert "in German, with a view to the question: What for?. Say" in text
    assert "---\nOne.\n\nTwo.\n---" in text


def test_both_ends_of_a_long_text_are_kept():
    text = "start " * 100 + "middle " * 300 + "end " * 100
    prompt = SummarizationPromptor({"keep": "ends", "max_context_length": 90}).execute(text)
    shown = prompt.passages[0].text
    assert shown.startswith("start start")
    assert shown.endswith("end end ")
    assert "[…]" in shown
    assert "middle" not in shown
    assert 85 <= TOKENS.count(shown) <= 90
    assert prompt.tokens == TOKENS.count(shown)
    head = SummarizationPromptor({"max_context_length": 90}).execute(text).passages[0].text
    assert text.startswith(head)
    short = SummarizationPromptor({"keep": "ends"}).execute("A short text.")
    assert short.passages[0].text == "A short text."


def test_what_has_no_text_is_refused():
    with pytest.raises(ItemError, match="without passages"):
        content(Query(text="Why?"))
    with pytest.raises(ItemError, match="no text"):
        content("   ")
    with pytest.raises(ConfigError, match="never mentions the text"):
        SummarizationPromptor({"template": "Summarise {query}"})


def test_in_a_job_from_documents():
    seen = []
    env = LocalEnvironment("summary")
    stream = env.from_collection([Document(id="d1", text="A long story.")])
    stream.map("SummarizationPromptor", {"template": "{max_words}: {text}"}).sink(seen.append)
    env.submit().wait(60)
    assert seen[0].messages[0].content == "150: A long story."
