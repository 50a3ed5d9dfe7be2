"""The client against a real server on loopback."""

import asyncio
import threading

import orjson
import pytest

from sage.common.config import Secret
from sage.common.errors import ConfigError, ModelError
from sage.middleware.models.openai_client import OpenAIClient, is_local
from sage.middleware.models.retry import RetryRule
from sage.middleware.testing.model_server import ModelServer

ASK = [{"role": "user", "content": "Paris is the capital of France.\nQuestion: What is Paris?"}]
QUICK = RetryRule(max_retries=3, base=0.001, cap=0.01)


@pytest.fixture
def server():
    with ModelServer() as running:
        yield running


def ask(server, *, retry=QUICK, **options):
    client_options = {k: options.pop(k) for k in ("timeout", "deadline") if k in options}

    async def run():
        client = OpenAIClient(server.url, retry=retry, **client_options)
        return await client.chat(ASK, model="m", **options)

    return asyncio.run(run())


def failure(server, **options):
    with pytest.raises(ModelError) as caught:
        ask(server, **options)
    return caught.value


def test_a_reply_has_text_model_and_usage(server):
    reply = ask(server, temperature=0.5, max_tokens=50, seed=7, stop=None)
    assert reply.text == "Paris is the capital of France."
    assert (reply.model, reply.finish_reason, reply.retries) == ("m", "stop", 0)
    assert reply.input_tokens > 0
    assert reply.output_tokens == 7
    sent = server.calls[0].request
    assert (sent["temperature"], sent["max_tokens"], sent["seed"]) == (0.5, 50, 7)
    assert "stop" not in sent


def test_a_stream_delivers_pieces_and_counts_usage(server):
    pieces = []
    reply = ask(server, stream=True, on_token=pieces.append)
    assert "".join(pieces) == reply.text == "Paris is the capital of France."
    assert len(pieces) == 6
    assert (reply.input_tokens, reply.output_tokens) != (None, None)
    assert reply.first_token is not None


def test_the_async_iterator_streams_and_raises(server):
    async def run():
        client = OpenAIClient(server.url, retry=QUICK)
        pieces = [piece async for piece in client.stream(ASK, model="m")]
        server.push("400")
        with pytest.raises(ModelError):
            async for _ in client.stream(ASK, model="m"):
                pass
        return pieces

    assert "".join(asyncio.run(run())) == "Paris is the capital of France."


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["429", "500", "503", "drop", "drop_mid", "garbage"])
def test_a_passing_fault_is_retried(server, fault, stream):
    server.push(fault, fault)
    reply = ask(server, stream=stream)
    assert reply.text == "Paris is the capital of France."
    assert (reply.retries, server.count) == (2, 3)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_client_error_is_never_retried(server, status):
    server.push(str(status))
    error = failure(server)
    assert (error.status, error.attempts, server.count) == (status, 1, 1)


def test_retry_after_is_the_wait(server):
    server.retry_after = 0.2
    server.push("429")
    ask(server)
    first, second = server.calls
    assert second.at - first.at >= 0.2


def test_a_wait_that_is_too_long_goes_to_the_caller(server):
    server.retry_after = 3600
    server.push("429")
    error = failure(server)
    assert (error.status, error.retry_after, server.count) == (429, 3600.0, 1)


def test_it_gives_up_after_max_retries_and_says_so(server):
    server.push(*["500"] * 9)
    error = failure(server)
    assert (error.status, error.attempts, server.count) == (500, 4, 4)
    assert "gave up after 4 attempts" in str(error)


def test_a_hanging_server_runs_into_the_timeout_and_is_tried_again(server):
    server.push("hang")
    reply = ask(server, timeout=0.2)
    assert reply.retries == 1


def test_the_deadline_bounds_all_attempts(server):
    server.retry_after = 5
    server.push("429")
    error = failure(server, deadline=1.0)
    assert server.count == 1
    assert error.retry_after == 5.0


def test_an_empty_completion_is_an_error(server):
    server.push("empty", "empty")
    error = failure(server)
    assert (error.kind, error.status, server.count) == ("empty", 200, 1)
    assert failure(server, stream=True).kind == "empty"


def test_broken_json_is_an_error_never_an_answer(server):
    server.push(*["garbage"] * 4)
    error = failure(server)
    assert error.kind == "body"
    assert "broken JSON" in str(error)


def test_a_stream_that_was_seen_is_not_repeated(server):
    server.push("drop_mid")
    pieces = []
    error = failure(server, stream=True, on_token=pieces.append)
    assert (error.kind, server.count) == ("connection", 1)
    assert error.partial == "".join(pieces) != ""


def test_tool_calls_come_whole_from_replies_and_streams():
    call = {"id": "c1", "function": {"name": "add", "arguments": '{"a": 1}'}}
    with ModelServer(answer=lambda request: {"content": None, "tool_calls": [call]}) as server:
        for stream in (False, True):
            reply = ask(server, stream=stream, tools=[{"type": "function"}])
            assert reply.tool_calls == (("c1", "add", '{"a": 1}'),)
            assert reply.finish_reason == "tool_calls"


def test_the_client_does_not_limit_calls_in_flight(server):
    server.together = 150  # nobody is answered before all of them are there

    async def run():
        client = OpenAIClient(server.url)
        await asyncio.gather(*(client.chat(ASK, model="m") for _ in range(150)))

    asyncio.run(run())
    assert server.max_in_flight == 150


def test_one_client_works_on_several_loops_and_threads(server):
    client = OpenAIClient(server.url)
    texts = []

    def run():
        texts.append(asyncio.run(client.chat(ASK, model="m")).text)

    run()
    run()
    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["Paris is the capital of France."] * 5
    client.close()


def test_close_from_another_thread_closes_the_sessions_of_a_running_loop(server):
    client = OpenAIClient(server.url)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(client.chat(ASK, model="m"), loop).result()
    client.close()
    again = asyncio.run_coroutine_threadsafe(client.chat(ASK, model="m"), loop).result()
    assert again.text
    client.close()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_the_key_is_sent_and_never_shown(server, monkeypatch):
    server.api_key = "sk-very-secret"
    client = OpenAIClient(server.url, Secret("sk-very-secret"))
    assert asyncio.run(client.chat(ASK, model="m")).text
    assert "secret" not in repr(client)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-key")
    error = failure(server)
    assert error.status == 401
    assert "OPENAI_API_KEY" in str(error)
    assert "sk-wrong" not in str(error)


def test_a_foreign_server_without_key_is_a_config_error(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY.*OPENAI_BASE_URL"):
        OpenAIClient()
    with pytest.raises(ConfigError, match="http"):
        OpenAIClient("not a url")


def test_the_environment_names_the_server(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
    assert OpenAIClient().base_url == server.url


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("10.0.0.3", True), ("gpu", True), ("8.8.8.8", False),
     ("api.example.com", False)],
)  # fmt: skip
def test_which_hosts_are_local(host, local):
    assert is_local(host) is local


def test_a_redirect_is_an_error_that_names_the_new_place(server):
    server.push("302")
    assert "base_url" in str(failure(server))


def test_errors_in_a_200_body_are_errors():
    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        body = orjson.dumps({"error": {"message": "no credits"}})
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async def run():
        plain = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = plain.sockets[0].getsockname()[1]
        client = OpenAIClient(f"http://127.0.0.1:{port}/v1", retry=RetryRule(max_retries=0))
        async with plain:
            with pytest.raises(ModelError, match="no credits"):
                await client.chat(ASK, model="m")

    asyncio.run(run())


def test_a_server_that_is_not_there_is_asked_for_in_words():
    with ModelServer() as gone:
        pass
    error = failure(gone)
    assert error.status is None
    assert "is the server running, at this base_url?" in str(error)
