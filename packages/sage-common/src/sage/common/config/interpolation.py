"""``${NAME}`` and ``${NAME:-default}`` in configuration text.

``$${`` writes a literal ``${``. A default may itself hold ``${...}``. The default stands in for a
variable that is not set or empty, as in a shell.

Predecessor: ``sage.common.config.reading``; successor: ``sage.common.config.loader``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from sage.common.errors import ConfigError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def interpolate(text: str, environ: Mapping[str, str], where: str) -> str:
    """Replace the references of ``text``; ``where`` is ``file: key`` for messages.

    Raises:
        ConfigError: A variable without default is not set, or a reference is malformed.
    """
    out: list[str] = []
    at = 0
    while True:
        start = text.find("${", at)
        if start < 0:
            out.append(text[at:])
            return "".join(out)
        if start > at and text[start - 1] == "$":
            out.append(text[at : start - 1] + "${")
            at = start + 2
            continue
        out.append(text[at:start])
        end = _closing(text, start + 2, where)
        out.append(_value(text[start + 2 : end], environ, where))
        at = end + 1


def _closing(text: str, at: int, where: str) -> int:
    depth = 1
    while at < len(text):
        if text.startswith("${", at):
            depth += 1
            at += 2
            continue
        if text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    raise ConfigError(f"{where}: '${{' without a closing '}}'; write '$${{' for the text itself")


def _value(reference: str, environ: Mapping[str, str], where: str) -> str:
    name, has_default, default = reference.partition(":-")
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: {'${' + reference + '}'!r} is not a reference; expected ${{NAME}} or "
            "${NAME:-default}, and '$${' for the text itself",
            variable=name,
        )
    value = environ.get(name)
    if value or (value is not None and not has_default):
        return value
    if has_default:
        return interpolate(default, environ, where)
    near = difflib.get_close_matches(name, environ, n=1, cutoff=0.8)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(
        f"{where}: the environment variable {name!r} is not set; {hint}"
        f"set it, or give a default: ${{{name}:-...}}",
        variable=name,
    )
