import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.api.context import RuntimeContext
from sage.common.errors import ConfigError
from sage.lib.io.sink import CallbackSink, FileSink, MemorySink, TerminalSink
from sage.lib.types import Answer, Document, Evaluation, Query

ITEM = Evaluation(
    answer=Answer(
        text="Ada",
        query=Query(text="Who?", id="1", answers=("Ada",)),
        passages=(Document(id="d", text="Ada did it.", score=0.25),),
        model="m",
        latency=0.012,
    ),
    scores={"f1": 1.0, "em": None},
)


def test_a_json_file_is_a_whole_array_after_every_item(tmp_path, context):
    path = tmp_path / "new" / "a.json"
    sink = FileSink({"file_path": str(path)})
    sink.open(context())
    assert json.loads(path.read_bytes()) == []
    for n in range(3):
        sink.execute({"n": n})
        assert json.loads(path.read_bytes()) == [{"n": i} for i in range(n + 1)]
    sink.close()


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20)), max_size=6))
@settings(max_examples=30)
def test_json_round_trips(tmp_path_factory, items):
    path = tmp_path_factory.mktemp("s") / "a.json"
    half = len(items) // 2
    for part, append in ((items[:half], False), (items[half:], True)):
        sink = FileSink({"file_path": str(path), "append": append})
        sink.open(RuntimeContext(job_id="j", job_name="t", operator="s", uid="s"))
        for item in part:
            sink.execute(item)
        sink.close()
    assert json.loads(path.read_bytes()) == items


@pytest.mark.parametrize("existing", ["[]", '[\n{"n": 0}\n]\n\n\n\n', ""])
def test_appending_to_a_json_array(tmp_path, run_step, existing):
    path = tmp_path / "a.json"
    path.write_text(existing, encoding="utf-8")
    run_step(FileSink({"file_path": str(path), "append": True}), {"n": 1})
    before = json.loads(existing or "[]")
    assert json.loads(path.read_bytes()) == [*before, {"n": 1}]


def test_what_is_no_array_is_not_appended_to(tmp_path, context):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}', encoding="utf-8")
    with pytest.raises(ConfigError, match="no JSON array"):
        FileSink({"file_path": str(path), "append": True}).open(context())
    assert path.read_text(encoding="utf-8") == '{"a": 1}'


def test_lines_text_and_tables(tmp_path, run_step):
    for name in ("a.jsonl", "a.txt", "a.csv"):
        run_step(FileSink({"file_path": str(tmp_path / name)}), ITEM, ITEM)
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["answer"] for line in lines] == ["Ada", "Ada"]
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "Ada\nAda\n"
    table = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 3
    assert table[0].startswith("id,question,answer")


def test_csv_appends_under_the_same_head_and_defuses_formulas(tmp_path, run_step):
    path = tmp_path / "a.csv"
    for append in (False, True):
        sink = FileSink({"file_path": str(path), "append": append})
        run_step(sink, {"a": "=1+1", "b": 2})
    assert path.read_text(encoding="utf-8").splitlines() == ["a,b", "'=1+1,2", "'=1+1,2"]
    with pytest.raises(ConfigError, match=r"\['c'\]"):
        run_step(FileSink({"file_path": str(path), "append": True}), {"c": 1})


def test_paths_that_cannot_be_written_are_config_errors(tmp_path, context):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot write"):
        FileSink({"file_path": str(tmp_path / "file" / "a.json")}).open(context())
    with pytest.raises(ConfigError, match="output_format"):
        FileSink({"file_path": "a.xyz"})
    with pytest.raises(ConfigError, match="parallelism"):
        FileSink({"file_path": str(tmp_path / "a.json")}).open(context(parallelism=2))


def test_the_terminal_prints_json_and_writes_the_file_too(tmp_path, run_step, capsys):
    path = tmp_path / "results" / "answers.json"
    run_step(TerminalSink({"output_format": "json", "file_path": str(path)}), ITEM, "text")
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == json.loads(path.read_bytes())
    assert printed[0]["scores"] == {"f1": 1.0, "em": None}


def test_text_shows_question_passages_and_answer(run_step, capsys):
    run_step(TerminalSink(), ITEM)
    out = capsys.readouterr().out
    assert "Question: Who?" in out
    assert "[ 0.250] d: Ada did it." in out
    assert "(m, 12 ms, f1 1.00, em -)" in out


def test_a_table_has_one_row_per_item(run_step, capsys):
    run_step(TerminalSink({"output_format": "table", "width": 60}), ITEM, ITEM)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].split() == ["id", "question", "answer", "scores", "latency"]
    assert all(len(line) <= 60 for line in lines)


def test_control_characters_of_items_do_not_reach_the_terminal(run_step, capsys):
    for fmt in ("text", "table", "json"):
        run_step(
            TerminalSink({"output_format": fmt}),
            "red \x1b[31m alert \x9b2J",
            {"a": "\x1b]0;x\x07\x9b"},
        )
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "\x9b" not in out
    assert json.loads(out.splitlines()[-1]) == {"a": "\x1b]0;x\x07\x9b"}
    assert "red" in out


def test_callback_and_memory(run_step):
    seen = []
    run_step(CallbackSink({"callback": seen.append, "plain": True}), ITEM)
    assert seen[0]["answer"] == "Ada"
    memory = MemorySink()
    run_step(memory, 1, 2)
    assert memory.items == [1, 2]
    with pytest.raises(ConfigError, match="callable"):
        CallbackSink({"callback": 3})
