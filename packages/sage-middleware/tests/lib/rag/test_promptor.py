import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import ConfigError
from sage.lib.rag.promptor import QAPromptor
from sage.lib.types import Document, Query, Retrieved
from sage.middleware.tokens import get_tokenizer

SEED = "Answer the question based on context: {context}\nQuestion: {query}\nAnswer:"


def item(*texts, question="Why?"):
    return Retrieved(
        query=Query(text=question, id="q1"),
        passages=tuple(Document(id=str(i), text=t) for i, t in enumerate(texts)),
    )


def content(template, found, **options):
    return QAPromptor({"template": template, **options}).execute(found).messages[-1].content


def test_the_template_of_the_seed():
    prompt = QAPromptor({"template": SEED, "max_context_length": 2000}).execute(item("A.", "B."))
    assert prompt.messages[0].role == "user"
    assert prompt.messages[0].content == (
        "Answer the question based on context: A.\n\nB.\nQuestion: Why?\nAnswer:"
    )
    assert [d.id for d in prompt.passages] == ["0", "1"]
    assert prompt.query.id == "q1"


def test_question_and_query_are_the_same_and_other_braces_are_text():
    assert content('{"q": "{question}", "x": {}} {query}', item()) == '{"q": "Why?", "x": {}} Why?'


@pytest.mark.parametrize(
    "evil", ["{context} {query}", "{{ 7*7 }}", "{% for x in y %}", "{query.x}"]
)
@pytest.mark.parametrize("template", ["{context}|{query}", "{{ context }}|{{ query }}"])
def test_data_is_never_a_template(template, evil):
    assert content(template, item(evil, question=evil)) == f"{evil}|{evil}"


def test_jinja_is_sandboxed_and_strict():
    loop = "{% for p in passages %}[{{ p.id }}]{% endfor %} {{ query }}"
    assert content(loop, item("A", "B")) == "[0][1] Why?"
    with pytest.raises(ConfigError, match="unknown variables"):
        QAPromptor({"template": "{{ query }} {{ secret }}"})
    with pytest.raises(ConfigError, match="Jinja2"):
        QAPromptor({"template": "{{ query }} {% if %}"})
    promptor = QAPromptor({"template": "{{ query }}{{ query.__class__.__mro__ }}"})
    with pytest.raises(ConfigError, match="rendered"):
        promptor.execute(item())


def test_templates_that_cannot_be_meant_are_refused():
    with pytest.raises(ConfigError, match=r"did you mean \{context\}"):
        QAPromptor({"template": "{contxt} {query}"})
    with pytest.raises(ConfigError, match="never mentions the question"):
        QAPromptor({"template": "only {context}"})


def test_passages_are_cut_best_first_at_a_token_boundary():
    prompt = QAPromptor({"template": "{context}|{query}", "max_context_length": 5}).execute(
        item("one two three", "four five six", "seven")
    )
    assert prompt.messages[0].content == "one two three\n\nfour five|Why?"
    assert [d.text for d in prompt.passages] == ["one two three", "four five"]
    assert prompt.tokens == 5


@given(st.lists(st.text(max_size=60), max_size=5), st.integers(0, 40))
def test_the_budget_is_kept(texts, budget):
    promptor = QAPromptor({"template": "{context}\0{query}", "max_context_length": budget})
    prompt = promptor.execute(item(*texts))
    context = prompt.messages[0].content.split("\0Why?")[0]
    assert get_tokenizer("simple").count(context) <= budget
    assert prompt.tokens <= budget


def test_system_message_numbers_and_version():
    one = QAPromptor({"template": SEED, "system": "Be {brief}.", "numbered": True})
    prompt = one.execute(item("A.", "B."))
    assert [m.role for m in prompt.messages] == ["system", "user"]
    assert prompt.messages[0].content == "Be {brief}."
    assert "[1] A.\n\n[2] B." in prompt.messages[1].content
    assert prompt.version == one.execute(item("C.")).version
    assert prompt.version != QAPromptor({"template": SEED}).execute(item()).version
