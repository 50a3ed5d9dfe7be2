import pytest

from sage.api import LocalEnvironment
from sage.lib.rag.generator import ExtractiveGenerator
from sage.lib.rag.generator.reading.question import kind_of
from sage.lib.rag.generator.reading.sentences import sentence_bounds, tokens
from sage.lib.types import Document, Query, Retrieved

PASSAGES = (
    Document(
        id="normans",
        text="The Normans were the people who in the 10th and 11th centuries gave their name to "
        "Normandy, a region in France. They were descended from Norse raiders under Rollo.",
        score=12.0,
    ),
    Document(
        id="nile", text="The Nile is 6,650 km long. Dr. Smith measured it in 1901.", score=3.0
    ),
)


def ask(question, passages=PASSAGES, **config):
    item = Retrieved(query=Query(text=question), passages=passages)
    generator = ExtractiveGenerator(config)
    generator.open(None)
    return generator.execute(item)


@pytest.mark.parametrize(
    ("question", "answer"),
    [("In what country is Normandy?", "France"), ("How long is the Nile?", "6,650 km"),
     ("When was the Nile measured?", "1901"), ("Who measured the Nile?", "Smith")],
)  # fmt: skip
def test_short_answers(question, answer):
    assert answer in ask(question).text


def test_citations_point_at_the_quoted_characters():
    answer = ask("How long is the Nile?")
    (citation,) = answer.citations
    source = next(d for d in PASSAGES if d.id == citation.document_id)
    assert source.text[citation.start : citation.end] == answer.text
    assert (answer.model, answer.cost) == ("extractive", 0.0)
    assert answer.usage.output_tokens is None


def test_whole_sentences():
    answer = ask("How long is the Nile?", answer="sentence")
    assert answer.text == "The Nile is 6,650 km long."
    longer = ask("How was the Nile measured?", answer="sentence", sentences=2)
    assert len(longer.citations) == 2


def test_no_shared_word_is_no_answer():
    answer = ask("Quantum chromodynamics?")
    assert (answer.text, answer.finish_reason) == ("I do not know.", "no_answer")
    assert answer.citations == ()
    assert ask("anything", passages=()).text == "I do not know."


@pytest.mark.parametrize("answer", ["span", "sentence"])
def test_the_words_for_no_answer_are_those_that_are_set(answer):
    answers = []
    env = LocalEnvironment("none")
    settings = {"answer": answer, "no_answer": "Weiß nicht."}
    items = [("Quantum chromodynamics?", PASSAGES), ("How long is the Nile?", PASSAGES), "Who?"]
    env.from_collection(items).map("ExtractiveGenerator", settings).sink(answers.append)
    env.submit().wait(60)
    assert [a.finish_reason for a in answers] == ["no_answer", "stop", "no_answer"]
    assert answers[0].text == answers[2].text == "Weiß nicht."
    assert "6,650 km" in answers[1].text


def test_it_is_deterministic_and_needs_no_scores():
    bare = tuple(Document(id=d.id, text=d.text) for d in PASSAGES)
    assert {ask("How long is the Nile?", passages=bare).text for _ in range(5)} == {
        ask("How long is the Nile?").text
    }


@pytest.mark.parametrize(
    ("question", "kind"),
    [("When did it end?", "date"), ("In what year was it?", "date"),
     ("How many are there?", "number"),
     ("Who was it?", "person"), ("Where is it?", "place"), ("What city is it in?", "place"),
     ("Why did it end?", "reason"), ("Tell me about it", "other")],
)  # fmt: skip
def test_kinds_of_questions(question, kind):
    assert kind_of(question) == kind


def test_sentences_end_where_they_should():
    text = "Dr. Smith came. He paid $3.50 to J. Doe!\nDone"
    assert [text[a:b] for a, b in sentence_bounds(text)] == [
        "Dr. Smith came.", "He paid $3.50 to J. Doe!", "Done",
    ]  # fmt: skip
    assert [t.text for t in tokens(text, 16, 40)] == [
        "He",
        "paid",
        "$3.50",
        "to",
        "J",
        ".",
        "Doe",
        "!",
    ]
