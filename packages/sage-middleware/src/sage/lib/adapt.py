"""The one adapter between plain Python values and the typed items of ``sage.lib.types``.

Every operator calls ``as_query``, ``as_retrieved``, ``as_prompt``, ``as_answer`` or
``as_document`` on what it receives, so strings, mappings and ``(query, documents)`` tuples work
at the edges of a pipeline. ``to_dict`` is the way out, used by the sinks.

Predecessor: ``sage.lib.types``; successor: ``sage.lib.contracts``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from sage.lib.errors import ItemError
from sage.lib.types import (
    Answer,
    ChatMessage,
    Document,
    Evaluation,
    Prompt,
    Query,
    Retrieved,
    ToolCall,
)

QUESTION_KEYS = ("query", "question", "text", "input")
ANSWER_KEYS = ("answer", "prediction", "output", "response")
REFERENCE_KEYS = ("answers", "references", "reference", "expected", "gold")
PASSAGE_KEYS = ("passages", "documents", "docs", "retrieved", "contexts", "context")


def as_query(item: Any) -> Query:
    """The question of an item.

    Args:
        item: ``Query`` or a later value, a string, a ``(query, ...)`` tuple, or a mapping with one
            of the keys ``query``, ``question``, ``text``, ``input`` and optionally ``id``,
            ``answers`` (or ``references``) and ``metadata``; unknown keys go to ``metadata``.

    Raises:
        ItemError: The item has none of these shapes.
    """
    if type(item) is Query:
        return item
    if isinstance(item, Query):
        return item
    if isinstance(item, str):
        return Query(text=item)
    if isinstance(item, Retrieved | Prompt | Answer):
        return item.query
    if isinstance(item, Evaluation):
        return item.answer.query
    if isinstance(item, Mapping):
        return _query_of_mapping(item)
    if isinstance(item, tuple) and item:
        return as_query(item[0])
    raise ItemError(
        f"cannot read a question from {_brief(item)}: expected a Query, a string, a mapping with "
        f"one of the keys {', '.join(QUESTION_KEYS)}, or a (query, documents) tuple",
        item=_brief(item),
    )


def as_retrieved(item: Any) -> Retrieved:
    """The question of an item with its passages; a bare question has none.

    Raises:
        ItemError: The item is no question and holds none.
    """
    if isinstance(item, Retrieved):
        return item
    if isinstance(item, Prompt | Answer):
        return Retrieved(query=item.query, passages=item.passages)
    if isinstance(item, Evaluation):
        return Retrieved(query=item.answer.query, passages=item.answer.passages)
    if isinstance(item, tuple) and len(item) == 2:
        return Retrieved(query=as_query(item[0]), passages=as_documents(item[1]))
    if isinstance(item, Mapping):
        for key in PASSAGE_KEYS:
            if key in item:
                return Retrieved(query=as_query(item), passages=as_documents(item[key]))
    return Retrieved(query=as_query(item))


def as_prompt(item: Any) -> Prompt:
    """Messages for a model.

    A string or a ``Query`` becomes one user message; a list of ``{"role", "content"}`` mappings
    (or a mapping with ``messages``) is taken as it is.

    Raises:
        ItemError: The item has passages but no prompt was built from them, or is something else.
    """
    if isinstance(item, Prompt):
        return item
    if isinstance(item, Mapping) and "messages" in item:
        messages = _messages(item["messages"])
        query = as_query(item) if _has_question(item) else _last_user(messages)
        return Prompt(messages=messages, query=query)
    if isinstance(item, list):
        messages = _messages(item)
        return Prompt(messages=messages, query=_last_user(messages))
    retrieved = as_retrieved(item)
    if retrieved.passages:
        raise ItemError(
            f"the item {_brief(item)} has {len(retrieved.passages)} passages but no prompt; "
            "put a promptor such as QAPromptor before the generator"
        )
    query = retrieved.query
    return Prompt(messages=(ChatMessage(role="user", content=query.text),), query=query)


def as_answer(item: Any) -> Answer:
    """An answer with its question and reference answers.

    Args:
        item: ``Answer`` or ``Evaluation``, a mapping with ``answer`` (or ``prediction``) and
            optionally a question and ``answers``, or an ``(answer, references)`` tuple.

    Raises:
        ItemError: The item holds no answer.
    """
    if isinstance(item, Answer):
        return item
    if isinstance(item, Evaluation):
        return item.answer
    if isinstance(item, Mapping):
        text = next((item[k] for k in ANSWER_KEYS if isinstance(item.get(k), str)), None)
        if text is not None:
            if _has_question(item):
                found = as_retrieved(item)
                return Answer(text=text, query=found.query, passages=found.passages)
            return Answer(text=text, query=Query(text="", answers=_references(item)))
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
        return Answer(text=item[0], query=Query(text="", answers=_texts(item[1])))
    raise ItemError(
        f"cannot read an answer from {_brief(item)}: expected an Answer, a mapping with one of the "
        f"keys {', '.join(ANSWER_KEYS)}, or an (answer, references) tuple"
    )


def as_document(item: Any) -> Document:
    """A document from a ``Document``, a string, or a mapping with ``text`` (or ``content``).

    Without an id, one is derived from the text (12 hex digits of its BLAKE2b hash).

    Raises:
        ItemError: The item has no text.
    """
    if isinstance(item, Document):
        return item
    if isinstance(item, str):
        return Document(id=derived_id(item), text=item)
    if isinstance(item, Mapping):
        text = item.get("text", item.get("content", item.get("page_content")))
        if isinstance(text, str):
            score = item.get("score")
            return Document(
                id=_id_of(item) or derived_id(text),
                text=text,
                metadata=item.get("metadata") or {},
                score=None if score is None else float(score),
                start=item.get("start"),
                end=item.get("end"),
                parent_id=item.get("parent_id"),
            )
    raise ItemError(
        f"cannot read a document from {_brief(item)}: expected a Document, a string, or a mapping "
        "with the key 'text'"
    )


def as_documents(items: Any) -> tuple[Document, ...]:
    """Documents from an iterable of what ``as_document`` takes, or from one of them."""
    if isinstance(items, str | Mapping | Document):
        return (as_document(items),)
    if not isinstance(items, Iterable):
        raise ItemError(f"cannot read documents from {_brief(items)}: expected a list")
    return tuple(as_document(item) for item in items)


def derived_id(text: str) -> str:
    """A stable id of a text: 12 hex digits of its BLAKE2b hash."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def to_dict(value: Any) -> Any:
    """Plain data for a sink: dicts, lists, strings and numbers.

    ``Answer`` gives ``id, question, answer, references, model, passages, citations, usage, cost,
    latency, retries, finish_reason, prompt_version`` (and ``tool_calls``, ``metadata`` when there
    are any); ``Evaluation`` the same with ``scores``; ``Retrieved`` and ``Prompt`` their part of
    it. Other attrs values become dicts of their fields; anything else is returned unchanged.
    """
    if isinstance(value, Answer):
        return _answer_dict(value)
    if isinstance(value, Evaluation):
        return {**_answer_dict(value.answer), "scores": dict(value.scores)}
    if isinstance(value, Query):
        return _query_dict(value)
    if isinstance(value, Retrieved):
        return {**_query_dict(value.query), "passages": [_passage(d) for d in value.passages]}
    if isinstance(value, Prompt):
        return {
            **_query_dict(value.query),
            "messages": [message_dict(m) for m in value.messages],
            "passages": [_passage(d) for d in value.passages],
            "prompt_version": value.version,
            "context_tokens": value.tokens,
        }
    if isinstance(value, Document):
        return _passage(value)
    if isinstance(value, Mapping):
        return {key: to_dict(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_dict(inner) for inner in value]
    if attrs.has(type(value)):
        return {
            field.name: to_dict(getattr(value, field.name)) for field in attrs.fields(type(value))
        }
    return value


def _answer_dict(answer: Answer) -> dict[str, Any]:
    query = answer.query
    result: dict[str, Any] = {
        "id": query.id,
        "question": query.text,
        "answer": answer.text,
        "references": list(query.answers),
        "model": answer.model,
        "passages": [_passage(d) for d in answer.passages],
        "citations": [
            {"document_id": c.document_id, "start": c.start, "end": c.end} for c in answer.citations
        ],
        "usage": {
            "input_tokens": answer.usage.input_tokens,
            "output_tokens": answer.usage.output_tokens,
            "cached_tokens": answer.usage.cached_tokens,
        },
        "cost": answer.cost,
        "latency": answer.latency,
        "retries": answer.retries,
        "finish_reason": answer.finish_reason,
        "prompt_version": None if answer.prompt is None else answer.prompt.version,
    }
    if answer.tool_calls:
        result["tool_calls"] = [to_dict(call) for call in answer.tool_calls]
    metadata = {**query.metadata, **answer.metadata}
    if metadata:
        result["metadata"] = metadata
    return result


def _query_dict(query: Query) -> dict[str, Any]:
    result: dict[str, Any] = {
        "id": query.id,
        "question": query.text,
        "references": list(query.answers),
    }
    if query.metadata:
        result["metadata"] = dict(query.metadata)
    return result


def _passage(document: Document) -> dict[str, Any]:
    result: dict[str, Any] = {
        "id": document.id,
        "score": document.score,
        "text": document.text,
        "metadata": dict(document.metadata),
    }
    for name in ("start", "end", "parent_id"):
        if getattr(document, name) is not None:
            result[name] = getattr(document, name)
    return result


def message_dict(message: ChatMessage) -> dict[str, Any]:
    """A message as the chat completions API takes it, and as ``as_prompt`` reads it."""
    result: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name is not None:
        result["name"] = message.name
    if message.tool_call_id is not None:
        result["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        result["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    return result


def _has_question(item: Mapping[str, Any]) -> bool:
    return any(isinstance(item.get(key), str | Query) for key in QUESTION_KEYS)


def _query_of_mapping(item: Mapping[str, Any]) -> Query:
    for key in QUESTION_KEYS:
        text = item.get(key)
        if isinstance(text, Query):
            return text
        if isinstance(text, str):
            break
    else:
        raise ItemError(
            f"cannot read a question from a mapping with the keys {sorted(map(str, item))}: "
            f"expected one of {', '.join(QUESTION_KEYS)} with a string"
        )
    known = {key, "id", "metadata", *REFERENCE_KEYS, *PASSAGE_KEYS, *ANSWER_KEYS, "messages"}
    extra = {k: v for k, v in item.items() if k not in known}
    return Query(
        text=text,
        id=_id_of(item),
        answers=_references(item),
        metadata={**extra, **(item.get("metadata") or {})},
    )


def _id_of(item: Mapping[str, Any]) -> str:
    # None is what a table has where there is no id.
    found = item.get("id")
    return "" if found is None else str(found)


def _references(item: Mapping[str, Any]) -> tuple[str, ...]:
    for key in REFERENCE_KEYS:
        if item.get(key) is not None:
            return _texts(item[key])
    return ()


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping):  # SQuAD's {"text": [...], "answer_start": [...]}
        return _texts(value.get("text", ()))
    if isinstance(value, Iterable):
        return tuple(str(v["text"] if isinstance(v, Mapping) and "text" in v else v) for v in value)
    return (str(value),)


def _messages(items: Any) -> tuple[ChatMessage, ...]:
    messages = []
    for item in items:
        if isinstance(item, ChatMessage):
            messages.append(item)
            continue
        if not isinstance(item, Mapping) or "role" not in item:
            raise ItemError(
                f"cannot read a message from {_brief(item)}: expected a mapping with 'role' and "
                "'content'"
            )
        messages.append(
            ChatMessage(
                role=str(item["role"]),
                content=item.get("content") or "",
                name=item.get("name"),
                tool_call_id=item.get("tool_call_id"),
                tool_calls=tuple(map(_tool_call, item.get("tool_calls") or ())),
            )
        )
    if not messages:
        raise ItemError("a prompt needs at least one message, got an empty list")
    return tuple(messages)


def _tool_call(item: Any) -> ToolCall:
    if isinstance(item, ToolCall):
        return item
    try:
        function = item["function"]
        name, arguments = function["name"], function.get("arguments") or ""
    except (KeyError, TypeError, AttributeError) as error:
        raise ItemError(
            f"cannot read a tool call from {_brief(item)}: expected a mapping with 'id' and "
            "'function', which has 'name' and 'arguments'"
        ) from error
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    return ToolCall(id=_id_of(item), name=str(name), arguments=arguments)


def _last_user(messages: tuple[ChatMessage, ...]) -> Query:
    return Query(text=next((m.content for m in reversed(messages) if m.role == "user"), ""))


def _brief(item: Any) -> str:
    text = repr(item)
    return f"{type(item).__name__} {text if len(text) <= 80 else text[:77] + '...'}"
