"""Chat completions as values: the reply, and how it is read from bytes. No I/O.

Predecessor: ``sage.middleware.models.sse``; successor: ``sage.middleware.models.openai_client``.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

from sage.common.errors import ModelError

_THOUGHTS: Final = (
    re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE),
    # Some chat templates put the first mark into the prompt.
    re.compile(r"\A.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE),
    # The reply ended before the thoughts did.
    re.compile(r"\A\s*<think(?:ing)?>.*", re.DOTALL | re.IGNORECASE),
)
_OBJECT: Final = re.compile(r"\{\s*\"")


class ChatReply:
    """One completed chat call.

    Attributes:
        text: The content of the first choice.
        model: As the server names it.
        finish_reason: ``stop``, ``length``, ``tool_calls``, ``content_filter`` or ``None``.
        tool_calls: ``(id, name, arguments JSON)`` of each call the model asked for.
        input_tokens, output_tokens, cached_tokens: As the server counted; ``None``: it did not say.
        id: The server's id of the completion.
        retries: Failed attempts before this reply.
        latency: Seconds from the first attempt to the end of the reply.
        first_token: Seconds to the first streamed token, or ``None`` when not streamed.
    """

    __slots__ = (
        "cached_tokens",
        "finish_reason",
        "first_token",
        "id",
        "input_tokens",
        "latency",
        "model",
        "output_tokens",
        "retries",
        "text",
        "tool_calls",
    )

    def __init__(self) -> None:
        self.text = ""
        self.model = ""
        self.id = ""
        self.finish_reason: str | None = None
        self.tool_calls: tuple[tuple[str, str, str], ...] = ()
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.retries = 0
        self.latency = 0.0
        self.first_token: float | None = None

    def __repr__(self) -> str:
        return f"ChatReply(model={self.model!r}, text={self.text[:60]!r})"

    def read_usage(self, usage: Any) -> None:
        """Take the token counts of a ``usage`` object, if it is one."""
        if not isinstance(usage, dict):
            return
        self.input_tokens = usage.get("prompt_tokens")
        self.output_tokens = usage.get("completion_tokens")
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict):
            self.cached_tokens = details.get("cached_tokens")

    def check(self) -> ChatReply:
        """Itself, unless there is nothing in it.

        Raises:
            ModelError: Neither text nor tool calls (``kind="empty"``).
        """
        if self.tool_calls or self.text.strip():
            return self
        why = {
            "length": "the model used up max_tokens before it said anything; raise max_tokens",
            "content_filter": "the server's content filter removed it",
        }.get(self.finish_reason or "", "the model said nothing")
        raise ModelError(
            f"empty completion from model {self.model!r} "
            f"(finish_reason {self.finish_reason!r}): {why}",
            status=200,
            kind="empty",
            retry_after=None,
            retryable=False,
            input_tokens=self.input_tokens,  # the provider charges for these all the same
            output_tokens=self.output_tokens,
            cached_tokens=self.cached_tokens,
        )


def spoken(text: str) -> str:
    """The text of a reply without the thoughts that reasoning models may show first."""
    for thoughts in _THOUGHTS:
        text = thoughts.sub(" ", text)
    return text.strip()


def object_in(text: str) -> dict[str, Any]:
    """The first JSON object in a reply; thoughts, words and a code fence around it are ignored.

    Raises:
        ValueError: There is none, or it is broken; says which.
    """
    said = spoken(text)
    found = _OBJECT.search(said)
    start = said.find("{") if found is None else found.start()
    if start < 0:
        raise ValueError("the reply has no JSON object")
    try:
        value: dict[str, Any] = json.JSONDecoder().raw_decode(said, start)[0]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the reply is broken JSON: {error}") from error
    return value


def body_error(message: str) -> ModelError:
    """The error of an answer that is no valid completion (``kind="body"``)."""
    return ModelError(message, status=200, kind="body", retry_after=None, retryable=True)


def read_reply(body: bytes) -> ChatReply:
    """The reply in the body of a 200 response.

    Raises:
        ModelError: Broken JSON, no choices, or an error object in the body (``kind="body"``), or an
            empty completion (``kind="empty"``).
    """
    data = _object(body)
    reply = ChatReply()
    try:
        choice = data["choices"][0]
        message = choice["message"]
        reply.text = text_of(message.get("content"))
        calls = message.get("tool_calls")
        if calls:
            reply.tool_calls = tuple(
                (c.get("id") or "", c["function"]["name"], c["function"].get("arguments") or "")
                for c in calls
            )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise body_error(
            f"the server's answer is no chat completion ({error!r} is missing): {_start(body)}"
        ) from error
    reply.finish_reason = choice.get("finish_reason")
    reply.model = data.get("model") or ""
    reply.id = data.get("id") or ""
    reply.read_usage(data.get("usage"))
    return reply.check()


class StreamReader:
    """Builds a ``ChatReply`` from the events of a stream."""

    __slots__ = ("_calls", "_parts", "done", "reply")

    def __init__(self) -> None:
        self.reply = ChatReply()
        self.done = False
        self._parts: list[str] = []
        self._calls: dict[int, list[str]] = {}

    def feed(self, event: bytes) -> str:
        """The text that ``event`` adds, often empty.

        Raises:
            ModelError: The event is broken JSON or an error object (``kind="body"``).
        """
        if event == b"[DONE]":
            self.done = True
            return ""
        data = _object(event)
        reply = self.reply
        if not reply.model:
            reply.model = data.get("model") or ""
            reply.id = data.get("id") or ""
        if data.get("usage"):
            reply.read_usage(data["usage"])
        choices = data.get("choices")
        if not choices:
            return ""
        try:
            choice = choices[0]
            delta = choice.get("delta") or {}
            text = text_of(delta.get("content"))
            for call in delta.get("tool_calls") or ():
                self._call(call)
        except (KeyError, TypeError, AttributeError) as error:
            raise body_error(f"a streamed event is no chat chunk: {_start(event)}") from error
        if choice.get("finish_reason"):
            reply.finish_reason = choice["finish_reason"]
        if text:
            self._parts.append(text)
        return text

    def finish(self) -> ChatReply:
        """The whole reply.

        Raises:
            ModelError: The stream broke off (``kind="connection"``) or was empty.
        """
        reply = self.reply
        reply.text = "".join(self._parts)
        reply.tool_calls = tuple(
            (parts[0], parts[1], parts[2]) for _, parts in sorted(self._calls.items())
        )
        if not self.done and reply.finish_reason is None:
            raise ModelError(
                f"the stream broke off after {len(reply.text)} characters",
                status=200,
                kind="connection",
                retry_after=None,
                retryable=True,
            )
        return reply.check()

    def _call(self, call: dict[str, Any]) -> None:
        parts = self._calls.setdefault(call.get("index") or 0, ["", "", ""])
        function = call.get("function") or {}
        parts[0] = call.get("id") or parts[0]
        parts[1] += function.get("name") or ""
        parts[2] += function.get("arguments") or ""


def text_of(content: Any) -> str:
    """Text of a message's ``content``: a string, ``None``, or a list of parts."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    return "".join(part.get("text") or "" for part in content if part.get("type") == "text")


def error_text(body: bytes) -> tuple[str, str]:
    """``(message, code)`` of an error body; the start of the body when it is not the usual JSON."""
    try:
        error = orjson.loads(body)["error"]
        if isinstance(error, str):
            return error, ""
        return str(error.get("message") or error), str(error.get("code") or error.get("type") or "")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return _start(body), ""


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise body_error(f"the server's answer is broken JSON ({error}): {_start(body)}") from error
    if not isinstance(data, dict):
        raise body_error(f"the server's answer is no JSON object: {_start(body)}")
    if data.get("error"):
        raise body_error(f"the server answered 200 with an error: {error_text(body)[0]}")
    return data


def _start(body: bytes) -> str:
    text = body[:200].decode("utf-8", "replace").strip()
    return repr(text + ("…" if len(body) > 200 else "")) if text else "an empty body"
