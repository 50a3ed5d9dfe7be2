"""A client for Ollama's own chat API, ``POST /api/chat``; retries and errors as ``OpenAIClient``.

Source: the chapter "Generate a chat message" of Ollama's API reference.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from sage.common.errors import ModelError
from sage.middleware.models.chat import ChatReply, StreamReader, body_error, error_text
from sage.middleware.models.openai_client import OpenAIClient
from sage.middleware.models.sse import EventDecoder

HOST_VARIABLE = "OLLAMA_HOST"
DEFAULT_HOST = "http://127.0.0.1:11434"
TOP_LEVEL = frozenset({"tools", "format", "keep_alive", "think", "options"})
"""Fields of a request beside ``options``, which has the parameters of the model."""


class _LineDecoder(EventDecoder):
    """Lines of JSON in place of events."""

    __slots__ = ("_rest",)

    def __init__(self, max_bytes: int = 16 * 2**20) -> None:
        super().__init__(max_bytes)
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > self._max:
            raise ValueError(f"a line of the stream is longer than {self._max} bytes")
        return [line for line in lines if line.strip()]


class _OllamaReader(StreamReader):
    """Builds the reply from the lines of a stream."""

    __slots__ = ("_asked",)

    def __init__(self) -> None:
        super().__init__()
        self._asked: list[Any] = []

    def feed(self, event: bytes) -> str:
        data = _object(event)
        message = data.get("message") or {}
        reply = self.reply
        reply.model = data.get("model") or reply.model
        text = str(message.get("content") or "")
        if text:
            self._parts.append(text)
        self._asked += message.get("tool_calls") or ()
        if data.get("done"):
            self.done = True
            _finish(reply, data, self._asked)
        return text

    def finish(self) -> ChatReply:
        reply = self.reply
        reply.text = "".join(self._parts)
        if not self.done:
            raise ModelError(
                f"the stream broke off after {len(reply.text)} characters",
                status=200,
                kind="connection",
                retry_after=None,
                retryable=True,
            )
        return reply.check()


def _read_reply(body: bytes) -> ChatReply:
    data = _object(body)
    message = data.get("message")
    if not isinstance(message, dict):
        raise body_error(f"the server's answer is no chat message: {body[:200]!r}")
    reply = ChatReply()
    reply.text = str(message.get("content") or "")
    reply.model = data.get("model") or ""
    _finish(reply, data, message.get("tool_calls") or ())
    return reply.check()


class OllamaClient(OpenAIClient):
    """Chat completions of an Ollama server.

    Args:
        base_url: Address of the server; default: the environment variable ``OLLAMA_HOST``, else
            this machine's port 11434.
        api_key: Sent as a bearer token; default: ``OLLAMA_API_KEY``; most servers need none.
        options: As ``OpenAIClient``.
    """

    _path = "/api/chat"
    _key_variable = "OLLAMA_API_KEY"
    _needs_key = False
    _provider = "ollama"
    _reader = _OllamaReader
    _decoder = _LineDecoder
    _read = staticmethod(_read_reply)

    def __init__(self, base_url: str | None = None, api_key: Any = None, **options: Any) -> None:
        address = base_url or host_address(os.environ.get(HOST_VARIABLE, "")) or DEFAULT_HOST
        super().__init__(address, api_key, **options)

    def __repr__(self) -> str:
        return f"OllamaClient({self.base_url!r})"

    def _body(
        self,
        messages: Sequence[Mapping[str, Any]],
        model: str,
        stream: bool,
        params: Mapping[str, Any],
    ) -> bytes:
        given = {name: value for name, value in params.items() if value is not None}
        options = {name: given.pop(name) for name in list(given) if name not in TOP_LEVEL}
        options.update(given.pop("options", {}))
        if options:
            given["options"] = options
        return orjson.dumps(
            {
                "model": model,
                "messages": _messages(messages),
                "stream": stream,
                **given,
            }
        )


def host_address(host: str) -> str | None:
    """The URL in ``OLLAMA_HOST``, which may lack the scheme and the port."""
    if not host:
        return None
    address = host if "://" in host else f"http://{host}"
    if "://" not in host and ":" not in host:
        address += ":11434"
    return address.replace("//0.0.0.0", "//127.0.0.1")


def _finish(reply: ChatReply, data: Mapping[str, Any], calls: Sequence[Any]) -> None:
    try:
        reply.tool_calls = tuple(
            # Ollama gives calls no ids: their place in the message tells them apart.
            (
                call.get("id") or f"call_{number}",
                call["function"]["name"],
                orjson.dumps(call["function"].get("arguments") or {}).decode(),
            )
            for number, call in enumerate(calls)
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise body_error(f"a tool call of the answer cannot be read: {error!r}") from error
    reply.finish_reason = "tool_calls" if reply.tool_calls else data.get("done_reason")
    # A prompt that is cached whole is left out of the count by some versions.
    reply.input_tokens = data.get("prompt_eval_count")
    reply.output_tokens = data.get("eval_count")


def _messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for message in messages:
        result: dict[str, Any] = {"role": message["role"], "content": message.get("content") or ""}
        calls = message.get("tool_calls") or ()
        names |= {call.get("id") or "": call["function"]["name"] for call in calls}
        if calls:
            result["tool_calls"] = [
                {
                    "function": {
                        "name": call["function"]["name"],
                        "arguments": _arguments(call["function"].get("arguments")),
                    }
                }
                for call in calls
            ]
        if message["role"] == "tool":
            # Ollama knows no ids of calls: a result belongs to the tool of this name.
            name = message.get("name") or names.get(message.get("tool_call_id") or "")
            result |= {"tool_name": name} if name else {}
        found.append(result)
    return found


def _arguments(text: Any) -> Any:
    try:
        return orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return {"": text}  # what the model wrote, for its own eyes


def _object(line: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise body_error(f"the server's answer is broken JSON ({error})") from error
    if not isinstance(data, dict):
        raise body_error("the server's answer is no JSON object")
    if data.get("error"):
        raise body_error(f"the server answered 200 with an error: {error_text(line)[0]}")
    return data
