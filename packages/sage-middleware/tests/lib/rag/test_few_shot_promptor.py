import json

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, JobFailedError
from sage.lib.errors import InputFileError, ItemError
from sage.lib.rag.promptor import FewShotPromptor
from sage.lib.types import Document, Query, Retrieved
from sage.middleware.services.memory import MemoryService

SHOTS = [
    {"question": "What is the capital of France?", "answer": "Paris"},
    {"question": "How tall is the Eiffel tower?", "answer": "330 m"},
    {"question": "Which river crosses Paris?", "answer": "The Seine", "context": "Paris, Seine."},
]


def said(prompt):
    return [(m.role, m.content) for m in prompt.messages]


def answers(prompt):
    return [m.content for m in prompt.messages if m.role == "assistant"]


def test_fixed_examples_are_turns_in_their_order(run_step):
    (prompt,) = run_step(FewShotPromptor({"examples": SHOTS, "system": "Be brief."}), "Who?")
    assert said(prompt)[:3] == [
        ("system", "Be brief."),
        ("user", "Question: What is the capital of France?\nAnswer:"),
        ("assistant", "Paris"),
    ]
    assert said(prompt)[5] == (
        "user",
        "Context:\nParis, Seine.\n\nQuestion: Which river crosses Paris?\nAnswer:",
    )
    assert said(prompt)[-1] == ("user", "Question: Who?\nAnswer:")


def test_the_text_style_is_one_message(run_step):
    settings = {"examples": SHOTS[:1], "style": "text"}
    (prompt,) = run_step(FewShotPromptor(settings), ("Who?", ["He."]))
    shown = "Question: What is the capital of France?\nAnswer: Paris"
    assert said(prompt) == [("user", f"{shown}\n\nContext:\nHe.\n\nQuestion: Who?\nAnswer:")]


@pytest.mark.parametrize("embedding", [None, {"method": "hash"}])
def test_similar_examples_come_nearest_last(run_step, embedding):
    settings = {"examples": SHOTS, "select": "similar", "k": 2, "embedding": embedding}
    (prompt,) = run_step(FewShotPromptor(settings), "Which river crosses the city of Paris?")
    assert answers(prompt)[-1] == "The Seine"
    assert len(answers(prompt)) <= 2


def test_the_question_itself_is_no_example(run_step):
    question = " what is the capital of france? "
    for select in ("fixed", "similar"):
        (prompt,) = run_step(FewShotPromptor({"examples": SHOTS, "select": select}), question)
        assert "Paris" not in answers(prompt)
    (prompt,) = run_step(FewShotPromptor({"examples": SHOTS, "exclude_same": False}), question)
    assert "Paris" in answers(prompt)


def test_the_budget_takes_whole_examples(run_step):
    (prompt,) = run_step(FewShotPromptor({"examples": SHOTS, "max_example_tokens": 18}), "Who?")
    assert answers(prompt) == ["Paris"]
    (prompt,) = run_step(FewShotPromptor({"examples": SHOTS, "max_example_tokens": 0}), "Who?")
    assert answers(prompt) == []


def test_the_version_tells_examples_apart(run_step):
    versions = {
        run_step(FewShotPromptor({"examples": SHOTS[:n]}), "Who?")[0].version for n in (1, 2, 3)
    }
    assert len(versions) == 3


def test_examples_of_the_item(run_step):
    item = Retrieved(
        query=Query(text="Who?", metadata={"examples": SHOTS[:1]}),
        passages=(Document(id="d", text="He."),),
    )
    (prompt,) = run_step(FewShotPromptor({"select": "item"}), item)
    assert answers(prompt) == ["Paris"]
    with pytest.raises(ItemError, match=r"examples'\]\[0\]"):
        run_step(
            FewShotPromptor({"select": "item"}), Query(text="Who?", metadata={"examples": [1]})
        )


def test_examples_from_a_file(run_step, tmp_path):
    path = tmp_path / "shots.jsonl"
    path.write_text("\n".join(json.dumps(shot) for shot in SHOTS) + "\n\n", "utf-8")
    (prompt,) = run_step(FewShotPromptor({"examples_file": str(path)}), "Who?")
    assert len(answers(prompt)) == 3
    path.write_text('{"question": "a", "answer": "b"}\n{"question": 1}\n', "utf-8")
    with pytest.raises(InputFileError, match=r"shots\.jsonl:2"):
        run_step(FewShotPromptor({"examples_file": str(path)}), "Who?")
    with pytest.raises(ConfigError, match="cannot read"):
        run_step(FewShotPromptor({"examples_file": str(tmp_path / "none")}), "Who?")


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="has no examples"):
        FewShotPromptor()
    with pytest.raises(ConfigError, match="cannot be combined"):
        FewShotPromptor({"examples": SHOTS, "collection": "c"})
    with pytest.raises(ConfigError, match=r"examples\[1\]"):
        FewShotPromptor({"examples": [SHOTS[0], {"question": "x"}]})


def test_examples_from_a_memory_collection(tmp_path):
    config = {"data_dir": str(tmp_path / "memory"), "embedding_model": "hash"}
    with MemoryService(config) as service:
        service.create_collection("shots")
        service.insert_many(
            "shots",
            [shot["question"] for shot in SHOTS],
            [{"answer": shot["answer"]} for shot in SHOTS],
        )
    seen = []
    env = LocalEnvironment("shots")
    env.set_memory(config)
    stream = env.from_collection(["Which river crosses the city of Paris?"])
    stream.map("FewShotPromptor", {"collection": "shots", "k": 1}).sink(seen.append)
    env.submit().wait(60)
    assert answers(seen[0]) == ["The Seine"]


def test_a_missing_collection_is_named(tmp_path):
    env = LocalEnvironment("shots")
    env.set_memory({"data_dir": str(tmp_path / "memory"), "embedding_model": "hash"})
    env.from_collection(["Who?"]).map(FewShotPromptor, {"collection": "shots"}).sink(print)
    with pytest.raises(JobFailedError, match="shots"):
        env.submit().wait(60)


def test_fields_and_templates_have_the_names_that_are_set():
    made = []
    env = LocalEnvironment("shots")
    settings = {
        "select": "item",
        "examples_field": "shots",
        "template": "{context} | {query}",
        "bare_template": "Ask: {question}",
    }
    asked = {"question": "Who?", "shots": SHOTS[1:], "examples": SHOTS[:1]}
    items = [asked, {**asked, "passages": ["He."]}, {"question": "Who?", "shots": 3}]
    env.from_collection(items).map("FewShotPromptor", settings, on_error="skip").sink(made.append)
    env.submit().wait(60)
    shown = [
        ("user", "Ask: How tall is the Eiffel tower?"),
        ("assistant", "330 m"),
        ("user", "Paris, Seine. | Which river crosses Paris?"),
        ("assistant", "The Seine"),
    ]
    assert [said(prompt) for prompt in made] == [
        [*shown, ("user", "Ask: Who?")],
        [*shown, ("user", "He. | Who?")],
    ]
    other = FewShotPromptor({**settings, "bare_template": "Q: {query}"})
    other.open(None)
    assert other.execute(asked).version != made[0].version
