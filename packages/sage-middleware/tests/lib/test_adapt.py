import pytest

from sage.lib.adapt import as_answer, as_document, as_prompt, as_query, as_retrieved, to_dict
from sage.lib.errors import ItemError
from sage.lib.types import (
    Answer,
    ChatMessage,
    Citation,
    Document,
    Evaluation,
    Prompt,
    Query,
    Retrieved,
    Usage,
)

QUERY = Query(text="Who?", id="7", answers=("Ada",))
PASSAGE = Document(id="d", text="Ada did it.", score=0.5)
PROMPT = Prompt(
    messages=(ChatMessage(role="user", content="Who?"),),
    query=QUERY,
    passages=(PASSAGE,),
    version="v1",
)
ANSWER = Answer(
    text="Ada",
    query=QUERY,
    prompt=PROMPT,
    passages=(PASSAGE,),
    model="m",
    usage=Usage(input_tokens=3, output_tokens=1),
    citations=(Citation(document_id="d", start=0, end=3),),
)


@pytest.mark.parametrize(
    "item",
    [QUERY, Retrieved(query=QUERY), PROMPT, ANSWER, Evaluation(answer=ANSWER), (QUERY, []),
     {"query": "Who?", "id": 7, "answers": ["Ada"]},
     {"question": "Who?", "id": "7", "answers": "Ada"},
     {"text": "Who?", "id": "7", "reference": "Ada"}],
)  # fmt: skip
def test_every_shape_gives_the_same_question(item):
    assert as_query(item) == QUERY


def test_unknown_keys_of_a_mapping_become_metadata():
    query = as_query({"query": "q", "lang": "de", "metadata": {"n": 1}})
    assert query.metadata == {"lang": "de", "n": 1}


def test_squad_answers_are_read():
    query = as_query({"question": "q", "answers": {"text": ["a", "b"], "answer_start": [1, 2]}})
    assert query.answers == ("a", "b")


@pytest.mark.parametrize("item", [3, None, {"q": "Who?"}, (), {"query": 3}])
def test_what_is_no_question_is_refused_with_what_was_found(item):
    with pytest.raises(ItemError, match="question"):
        as_query(item)


def test_pairs_and_mappings_with_documents_are_retrieved():
    for item in (("Who?", ["Ada did it."]), {"query": "Who?", "docs": [{"text": "Ada did it."}]}):
        found = as_retrieved(item)
        assert found.query.text == "Who?"
        assert [d.text for d in found.passages] == ["Ada did it."]
        assert found.passages[0].id


def test_prompts_from_strings_messages_and_mappings():
    assert as_prompt("Hi").messages == (ChatMessage(role="user", content="Hi"),)
    listed = as_prompt([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}])
    assert [m.role for m in listed.messages] == ["system", "user"]
    assert listed.query.text == "u"
    assert as_prompt({"messages": [{"role": "user", "content": "u"}]}).query.text == "u"


def test_passages_without_a_prompt_are_never_dropped_silently():
    with pytest.raises(ItemError, match="QAPromptor"):
        as_prompt(Retrieved(query=QUERY, passages=(PASSAGE,)))


def test_answers_from_plain_values():
    assert as_answer(("Ada", ["Ada", "Lovelace"])).query.answers == ("Ada", "Lovelace")
    found = as_answer({"question": "Who?", "prediction": "Ada", "references": ["Ada"]})
    assert (found.text, found.query.text, found.query.answers) == ("Ada", "Who?", ("Ada",))
    with pytest.raises(ItemError, match="answer"):
        as_answer({"question": "Who?"})


def test_a_document_needs_text_and_gets_a_stable_id():
    assert as_document("x").id == as_document({"text": "x"}).id != as_document("y").id
    with pytest.raises(ItemError, match="text"):
        as_document({"id": "1"})


def test_plain_data_of_an_evaluation_has_everything():
    plain = to_dict(Evaluation(answer=ANSWER, scores={"f1": 1.0}))
    assert plain["question"] == "Who?"
    assert plain["passages"] == [{"id": "d", "score": 0.5, "text": "Ada did it.", "metadata": {}}]
    assert plain["citations"] == [{"document_id": "d", "start": 0, "end": 3}]
    assert plain["usage"] == {"input_tokens": 3, "output_tokens": 1, "cached_tokens": None}
    assert (plain["scores"], plain["prompt_version"], plain["cost"]) == ({"f1": 1.0}, "v1", None)
    assert to_dict({"a": [QUERY]})["a"][0]["id"] == "7"
