"""Answers at the sink while they are being written."""

import threading

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError
from sage.lib import streaming
from sage.lib.io.sink import CallbackSink, TerminalSink
from sage.lib.io.sink.live_text import LiveText
from sage.lib.rag.generator import OpenAIGenerator
from sage.lib.streaming import Telling, listen
from sage.lib.types import Query
from sage.middleware.testing.model_server import ModelServer


def one_by_one(sink, *questions):
    """A source that asks when the sink has had the answer before."""
    arrived = threading.Semaphore(1)
    execute = sink.execute

    def told(item):
        execute(item)
        arrived.release()

    sink.execute = told

    def source():
        for question in questions:
            assert arrived.acquire(timeout=30)
            yield Query(text=question)

    return source


def ask(server, questions, sink, *, stream=True, max_retries=0, **options):
    env = LocalEnvironment("stream")
    config = {"model": "m", "base_url": server.url, "stream": stream, "max_retries": max_retries}
    asked = env.from_source(questions) if callable(questions) else env.from_collection(questions)
    stream = asked.map(OpenAIGenerator, config, **options)
    stream.sink(sink)
    job = env.submit()
    job.wait(60)
    return job


def test_the_terminal_shows_pieces_before_the_answer(capsys, monkeypatch):
    writes = []
    monkeypatch.setattr("sage.lib.io.sink.terminal._print", writes.append)
    with ModelServer(answer=lambda _: "Because air scatters light.") as server:
        sink = TerminalSink(stream=True)
        ask(server, one_by_one(sink, "first", "second"), sink)
    text = "".join(writes)
    lines = text.splitlines()
    assert lines[:2] == ["Question: first", "Answer:   Because air scatters light."]
    assert lines[3:5] == ["Question: second", "Answer:   Because air scatters light."]
    assert "tokens" in lines[5]
    # The second came when the sink was open for certain: piece by piece.
    assert len(writes[writes.index(next(w for w in writes if "second" in w)) :]) >= 5


def test_answers_of_several_questions_do_not_mix(capsys):
    questions = [f"number {n}" for n in range(20)]

    def repeat(request):
        return f"It is {request['messages'][-1]['content']}, as you say."

    with ModelServer(answer=repeat, token_latency=0.001) as server:
        ask(server, questions, TerminalSink(stream=True), concurrency=8)
    shown = capsys.readouterr().out
    for question in questions:
        assert shown.count(f"It is {question}, as you say.\n") == 1
    assert streaming._listeners == {}


def test_without_stream_on_the_generator_answers_come_whole(capsys):
    with ModelServer(answer=lambda _: "Yes.") as server:
        ask(server, ["q"], TerminalSink(stream=True), stream=False)
    assert capsys.readouterr().out.startswith("Question: q\nAnswer:   Yes.\n")


def test_an_answer_that_breaks_off_does_not_hold_up_the_others(capsys):
    with ModelServer(answer=lambda _: "All is well.", faults=["drop_mid"]) as server:
        job = ask(server, ["a", "b"], TerminalSink(stream=True), on_error="dead_letter")
    shown = capsys.readouterr().out
    assert "Question: b\nAnswer:   All is well.\n" in shown
    assert len(job.dead_letters()) == 1


def test_a_callback_gets_pieces_with_their_question():
    pieces, items = [], []

    def on_token(query, text):
        pieces.append((query.text, text))

    sink = CallbackSink({"callback": items.append, "on_token": on_token})
    with ModelServer(answer=lambda _: "One two three.") as server:
        ask(server, one_by_one(sink, "first", "second"), sink)
    second = [text for question, text in pieces if question == "second"]
    assert "".join(second) == "One two three." == items[1].text
    assert len(second) > 1


def test_who_listens_late_gets_what_was_said():
    heard, query = [], Query(text="q")
    with Telling("job", query) as tell:
        tell("a")
        stop = listen("job", lambda _, text: heard.append(text))
        tell("b")
    assert heard == ["a", "b", None]
    stop()
    with Telling("job", query) as tell:
        tell("c")
    assert heard == ["a", "b", None]


def test_settings():
    with pytest.raises(ConfigError, match="stream"):
        TerminalSink({"output_format": "json", "stream": True})
    with pytest.raises(ConfigError, match="on_token"):
        CallbackSink({"callback": print, "on_token": 3})


def test_what_is_shown_when():
    out = []
    live = LiveText(out.append, str)
    a, b, c = (Query(text=name) for name in "abc")
    live.piece(a, "A1")
    live.piece(b, "B1")
    live.item(c, "whole c", "rest c")
    assert "".join(out) == "Question: a\nAnswer:   A1"
    live.piece(b, None)
    live.piece(a, "A2")
    live.piece(a, None)
    assert "".join(out).endswith("A1A2\nwhole c\nQuestion: b\nAnswer:   B1\n")
    live.item(b, "whole b", "rest b")
    live.item(a, "whole a", "rest a")
    assert "".join(out).endswith("B1\nrest b\nQuestion: a\nrest a\n")
    live.piece(c, "C")
    live.close()
    assert "".join(out).endswith("Question: c\nAnswer:   C\n")


def test_who_was_told_nothing_need_not_be_told_otherwise():
    heard, query = [], Query(text="q")
    with Telling("job", query) as tell:
        tell("broken")
        assert tell.retract()
        stop = listen("job", lambda _, text: heard.append(text))
        tell("whole")
        assert not tell.retract()
    stop()
    assert heard == ["whole", None]
    seen = []
    with Telling("job", query, seen.append) as tell:
        tell("broken")
        assert not tell.retract()


def test_a_stream_that_breaks_off_is_asked_for_again_unless_a_sink_of_its_job_has_seen_it():
    elsewhere = CallbackSink({"callback": print, "on_token": lambda query, text: None})
    items, pieces = [], []
    with ModelServer(answer=lambda _: "All is well.", faults=["drop_mid"]) as server:
        ask(server, ["a"], CallbackSink({"callback": items.append}), max_retries=1)
        assert [answer.retries for answer in items] == [1]
        sink = CallbackSink(
            {"callback": items.append, "on_token": lambda query, text: pieces.append(text)}
        )
        ask_next = one_by_one(sink, "b", "c")

        def source():
            for query in ask_next():
                if query.text == "c":  # the sink is open for certain
                    server.push("drop_mid")
                yield query

        job = ask(server, source, sink, max_retries=1, on_error="dead_letter")
    assert [letter["item"]["text"] for letter in job.dead_letters()] == ["c"]
    assert pieces
    elsewhere.close()
