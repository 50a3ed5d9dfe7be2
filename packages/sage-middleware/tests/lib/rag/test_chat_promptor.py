import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, JobFailedError
from sage.lib.errors import ItemError
from sage.lib.memory import SessionMemory
from sage.lib.rag.generator import OpenAIGenerator
from sage.lib.rag.promptor import ChatPromptor
from sage.lib.rag.promptor.budget import fit_turns
from sage.lib.types import ChatMessage, Document, Query, Retrieved
from sage.middleware.services.memory import MemoryService
from sage.middleware.tokens import get_tokenizer

TOKENS = get_tokenizer()
HISTORY = (
    {"role": "user", "content": "one one"},
    {"role": "assistant", "content": "two two"},
    {"role": "user", "content": "three three"},
    {"role": "assistant", "content": "four four"},
)


def asked(text="Why?", history=HISTORY):
    return Query(text=text, id="q", metadata={"history": history})


def said(prompt):
    return [(m.role, m.content) for m in prompt.messages]


def test_system_history_and_question_in_order():
    prompt = ChatPromptor({"system": "Be brief."}).execute(asked())
    assert said(prompt) == [
        ("system", "Be brief."),
        *((turn["role"], turn["content"]) for turn in HISTORY),
        ("user", "Why?"),
    ]
    assert prompt.query.id == "q"
    assert prompt.version != ChatPromptor({"system": "Be long."}).execute(asked()).version


def test_the_oldest_turns_go_first_and_the_system_message_stays():
    promptor = ChatPromptor({"system": "Be brief.", "max_history_tokens": 13})
    assert said(promptor.execute(asked())) == [
        ("system", "Be brief."),
        ("user", "three three"),
        ("assistant", "four four"),
        ("user", "Why?"),
    ]
    # The answer alone would fit into 8 tokens, but not with its question.
    alone = ChatPromptor({"system": "Be brief.", "max_history_tokens": 8})
    assert [role for role, _ in said(alone.execute(asked()))] == ["system", "user"]


def test_passages_are_cut_before_the_question():
    item = Retrieved(query=asked("What is it?"), passages=(Document(id="a", text="word " * 500),))
    prompt = ChatPromptor({"max_tokens": 60, "system": "Brief."}).execute(item)
    total = sum(TOKENS.count(m.content) + 4 for m in prompt.messages)
    assert 50 <= total <= 60
    assert prompt.messages[0].content == "Brief."
    assert "What is it?" in prompt.messages[-1].content
    assert prompt.passages[0].text == ("word " * 500)[: len(prompt.passages[0].text)]
    assert prompt.tokens == TOKENS.count(prompt.passages[0].text)


def test_a_template_that_repeats_the_context_stays_within_the_budget():
    item = Retrieved(query=Query(text="Why?"), passages=(Document(id="a", text="word " * 500),))
    promptor = ChatPromptor(
        {"template": "{{ context }} {{ context }} {{ query }}", "max_tokens": 50}
    )
    prompt = promptor.execute(item)
    assert prompt.passages
    assert sum(TOKENS.count(m.content) + 4 for m in prompt.messages) <= 50


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ItemError, match="more than max_tokens=3"):
        ChatPromptor({"max_tokens": 3}).execute("a question of many more words")
    with pytest.raises(ItemError, match="must be a list of messages"):
        ChatPromptor().execute(asked(history="what was said"))
    with pytest.raises(ItemError, match="role"):
        ChatPromptor().execute(asked(history=[{"content": "x"}]))
    with pytest.raises(ConfigError, match="unknown placeholder"):
        ChatPromptor({"template": "{qery}"})


@pytest.mark.parametrize("evil", ["{query}", "{{ 7*7 }}", "{% for x in y %}"])
def test_history_is_never_a_template(evil):
    prompt = ChatPromptor({"template": "{{ query }}"}).execute(
        asked(evil, [{"role": "user", "content": evil}])
    )
    assert said(prompt) == [("user", evil), ("user", evil)]


TURNS = st.lists(
    st.builds(
        ChatMessage,
        role=st.sampled_from(["system", "user", "assistant", "tool"]),
        content=st.text(alphabet="ab ", max_size=30),
    ),
    max_size=12,
)


@given(TURNS, st.integers(0, 60))
def test_turns_that_fit_are_the_newest(turns, budget):
    kept = fit_turns(turns, budget, TOKENS, per_message=2)
    assert sum(TOKENS.count(t.content) + 2 for t in kept) <= max(0, budget)
    spoken = [t for t in kept if t.role != "system"]
    everyone = [t for t in turns if t.role != "system"]
    assert spoken == everyone[len(everyone) - len(spoken) :]
    if spoken:
        assert spoken[0].role == "user"
    systems = [t for t in turns if t.role == "system"]
    kept_systems = [t for t in kept if t.role == "system"]
    assert kept_systems == systems[len(systems) - len(kept_systems) :]


def test_a_conversation_through_session_memory(server, tmp_path):
    answers = []
    config = {"data_dir": str(tmp_path / "memory")}
    for question in ("Who wrote it?", "And when?"):
        env = LocalEnvironment("chat")
        env.set_memory(config)
        (
            env.from_collection([{"query": question, "session": "s1"}])
            .map(SessionMemory)
            .map(ChatPromptor, {"system": "Be brief."})
            .map(OpenAIGenerator, {"model": "m", "base_url": server.url})
            .map(SessionMemory)
            .sink(answers.append)
        )
        env.submit().wait(60)
    sent = [(m["role"], m["content"]) for m in server.calls[-1].request["messages"]]
    assert sent == [
        ("system", "Be brief."),
        ("user", "Who wrote it?"),
        ("assistant", answers[0].text),
        ("user", "And when?"),
    ]


def test_history_straight_from_the_service(tmp_path):
    config = {"data_dir": str(tmp_path / "memory")}
    with MemoryService(config) as service:
        service.add_turn("s1", "user", "Hello")
        service.add_turn("s1", "assistant", "Hi")
    seen = []
    env = LocalEnvironment("chat")
    env.set_memory(config)
    stream = env.from_collection([{"query": "And?", "session": "s1"}])
    stream.map("ChatPromptor", {"service": "memory_service"}).sink(seen.append)
    env.submit().wait(60)
    assert said(seen[0]) == [("user", "Hello"), ("assistant", "Hi"), ("user", "And?")]


def test_a_missing_service_is_named():
    env = LocalEnvironment("chat")
    stream = env.from_collection(["And?"])
    stream.map(ChatPromptor, {"service": "memory_service", "session": "s"}).sink(print)
    with pytest.raises(Exception, match="set_memory"):
        env.submit().wait(60)


def prompts(settings, *items, memory=None):
    made = []
    env = LocalEnvironment("chat")
    if memory is not None:
        env.set_memory({"data_dir": str(memory)})
    env.from_collection(list(items)).map("ChatPromptor", settings).sink(made.append)
    env.submit().wait(60)
    return made


def test_the_history_is_where_its_field_says():
    item = {"question": "Why?", "said": HISTORY[:2], "history": HISTORY[2:]}
    (prompt,) = prompts({"history_field": "said"}, item)
    assert [text for _, text in said(prompt)] == ["one one", "two two", "Why?"]
    (prompt,) = prompts({"history_field": "nothing"}, item)
    assert said(prompt) == [("user", "Why?")]
    with pytest.raises(JobFailedError, match="'said' must be a list of messages"):
        prompts({"history_field": "said"}, {"question": "Why?", "said": "one one"})


def test_a_message_costs_what_is_set():
    # The question has 2 tokens, a pair of turns 4, besides what a message costs.
    for cost, turns in ((0, 4), (1, 2), (2, 0)):
        settings = {"max_tokens": 11, "message_tokens": cost}
        (prompt,) = prompts(settings, {"question": "Why?", "history": HISTORY})
        assert len(prompt.messages) == turns + 1
    (prompt,) = prompts({"max_tokens": 2, "message_tokens": 0}, "Why?")
    with pytest.raises(JobFailedError, match="have 3 tokens, more than max_tokens=2"):
        prompts({"max_tokens": 2, "message_tokens": 1}, "Why?")


def test_the_session_is_named_by_its_field(tmp_path):
    service = MemoryService({"data_dir": str(tmp_path)})
    for session in ("a", "b"):
        service.add_turn(session, "user", f"said in {session}")
    service.close()
    settings = {"service": "memory_service", "session_field": "room"}
    asked = [{"question": "Why?", "room": room, "session": "a"} for room in ("b", "a")]
    found = prompts(settings, *asked, memory=tmp_path)
    assert [said(prompt)[0] for prompt in found] == [("user", "said in b"), ("user", "said in a")]
    with pytest.raises(JobFailedError, match="has no session: expected the metadata field 'room'"):
        prompts(settings, {"question": "Why?", "session": "a"}, memory=tmp_path)
    (prompt,) = prompts({**settings, "session": "a"}, asked[0], memory=tmp_path)
    assert said(prompt)[0] == ("user", "said in a")
