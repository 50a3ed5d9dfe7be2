"""Prompt templates: ``{name}`` placeholders, or Jinja2 in its sandbox. Data is never a template."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sage.common.errors import ConfigError

if TYPE_CHECKING:
    from sage.lib.rag.promptor.budget import FittedPassages
    from sage.lib.types import Query

NAMES = ("context", "query", "question", "id")
"""Names that a template may use; ``query`` and ``question`` are the same text."""

VARIABLES = ("passages", "metadata")
"""Names that only Jinja2 templates may use."""

QUESTION = ("query", "question")
"""A template must use one of these."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
_JINJA = re.compile(r"\{%|\{#|\{\{")


def compile_template(
    text: str,
    *,
    style: str = "auto",
    names: Sequence[str] = NAMES,
    variables: Sequence[str] = VARIABLES,
    required: Sequence[str] = QUESTION,
) -> Callable[[Mapping[str, Any]], str]:
    """A function from values to text.

    Args:
        text: The template. In the ``braces`` style ``{context}``, ``{query}``, ``{question}`` and
            ``{id}`` are replaced and every other brace stands for itself; values are inserted
            once and never looked at again. In the ``jinja2`` style the same names, ``passages``
            (mappings with ``id, text, score, metadata``) and ``metadata`` are variables.
        style: ``braces``, ``jinja2``, or ``auto``: Jinja2 if the text has ``{{``, ``{%`` or ``{#``.
        names: Names that a template may use.
        variables: Further names that a Jinja2 template may use.
        required: Names of which the template must use one; empty: none.

    Raises:
        ConfigError: Unknown placeholder, none of the required ones, or a Jinja2 syntax error.
    """
    if style_of(text, style=style) == "jinja2":
        return _jinja(text, (*names, *variables), required)
    return _braces(text, names, required)


def style_of(text: str, *, style: str, built_in: str | None = None) -> str:
    """``braces`` or ``jinja2``: how a template is read.

    Args:
        text: The template.
        style: As for ``compile_template``.
        built_in: The operator's own template, whose style is its own whatever that of the user's.

    Raises:
        ConfigError: There is no such style.
    """
    if style not in ("auto", "braces", "jinja2"):
        raise ConfigError(f"template_style must be auto, braces or jinja2, got {style!r}")
    if style == "auto" or text == built_in:
        return "jinja2" if _JINJA.search(text) else "braces"
    return style


def values_of(query: Query, fitted: FittedPassages, separator: str) -> dict[str, Any]:
    """What ``NAMES`` and ``VARIABLES`` stand for, for one item."""
    return {
        "context": separator.join(fitted.texts),
        "query": query.text,
        "question": query.text,
        "id": query.id,
        "metadata": query.metadata,
        "passages": [
            {"id": d.id, "text": d.text, "score": d.score, "metadata": d.metadata}
            for d in fitted.passages
        ],
    }


def version_of(*parts: str) -> str:
    """Short hash (12 hex digits) of what makes a prompt, to tell prompt versions apart."""
    digest = hashlib.blake2b(digest_size=6)
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _require(text: str, used: Collection[str], required: Sequence[str], form: str) -> None:
    if not required or set(required) & set(used):
        return
    what = "the question" if required == QUESTION else f"the {required[0]}"
    raise ConfigError(
        f"the template {text[:60]!r} never mentions {what}: add "
        + " or ".join(form.replace("name", name) for name in required)
    )


def _braces(
    text: str, known: Sequence[str], required: Sequence[str]
) -> Callable[[Mapping[str, Any]], str]:
    pieces = _PLACEHOLDER.split(text)  # literal, name, literal, name, ..., literal
    names = pieces[1::2]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {{{near[0]}}}?" if near else ""
            raise ConfigError(
                f"the template has the unknown placeholder {{{name}}}; known are "
                f"{', '.join('{' + n + '}' for n in known)}{hint}"
            )
    _require(text, names, required, "{name}")

    def render(values: Mapping[str, Any]) -> str:
        out = pieces.copy()
        for i in range(1, len(out), 2):
            out[i] = str(values[out[i]])
        return "".join(out)

    return render


def _jinja(
    text: str, known: Sequence[str], required: Sequence[str]
) -> Callable[[Mapping[str, Any]], str]:
    from jinja2 import StrictUndefined, TemplateError, meta  # noqa: PLC0415 - 20 ms, rarely used
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    # Prompts are text for a model, not HTML: escaping would change what the user wrote.
    env = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
    )
    try:
        used = meta.find_undeclared_variables(env.parse(text))
        template = env.from_string(text)
    except TemplateError as error:
        raise ConfigError(f"the Jinja2 template is wrong: {error}") from error
    if used - set(known):
        raise ConfigError(
            f"the template uses the unknown variables {sorted(used - set(known))}; known are "
            f"{sorted(known)}"
        )
    _require(text, used, required, "{{ name }}")

    def render(values: Mapping[str, Any]) -> str:
        try:
            return template.render(values)
        except TemplateError as error:
            raise ConfigError(f"the Jinja2 template cannot be rendered: {error}") from error

    return render
