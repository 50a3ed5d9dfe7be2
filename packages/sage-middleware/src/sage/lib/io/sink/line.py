"""An item as one line: of JSON, or of text. Used by the writers of files and by the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from sage.lib.adapt import to_dict


def json_bytes(value: Any) -> bytes:
    """One line of JSON; what JSON does not know becomes its text."""
    return orjson.dumps(
        to_dict(value), default=str, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    )


def text_line(value: Any) -> str:
    """An item as one line of text: the answer for an answer, the text of a string, else JSON."""
    plain = to_dict(value)
    if isinstance(plain, str):
        return " ".join(plain.split())
    if isinstance(plain, Mapping):
        for key in ("answer", "text", "question"):
            if isinstance(plain.get(key), str):
                return " ".join(plain[key].split())
    return json_bytes(plain).decode()
