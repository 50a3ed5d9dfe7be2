"""Tokenizers by name: ``simple``, ``tiktoken:ENCODING``, ``tokenizers:PATH``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sage.common.errors import ConfigError, MissingExtraError
from sage.middleware.tokens.simple import SimpleTokenizer

if TYPE_CHECKING:
    from sage.middleware.tokens.tokenizer import Tokenizer


@cache
def get_tokenizer(name: str = "simple") -> Tokenizer:
    """The tokenizer called ``name``; one shared instance per name.

    Args:
        name: ``"simple"`` (rules, no dependency), ``"tiktoken"`` or ``"tiktoken:o200k_base"``
            (tiktoken must have that encoding in its cache, or fetches it), or
            ``"tokenizers:/path/to/tokenizer.json"`` (a Hugging Face tokenizer file).

    Raises:
        ConfigError: No tokenizer has that name, or its file is missing.
        MissingExtraError: The package is not installed.
    """
    kind, _, rest = name.partition(":")
    if kind == "simple" and not rest:
        return SimpleTokenizer()
    if kind == "tiktoken":
        return _Tiktoken(rest or "cl100k_base")
    if kind == "tokenizers" and rest:
        return _HuggingFace(rest)
    raise ConfigError(
        f"unknown tokenizer {name!r}; expected 'simple', 'tiktoken:ENCODING' or "
        "'tokenizers:PATH/tokenizer.json'"
    )


class _Tiktoken:
    def __init__(self, encoding: str) -> None:
        try:
            import tiktoken
        except ImportError as error:
            raise MissingExtraError("tiktoken", "openai", f"the tokenizer {encoding!r}") from error
        self.name = f"tiktoken:{encoding}"
        try:
            self._encoding = tiktoken.get_encoding(encoding)
        except ValueError as error:
            raise ConfigError(f"tiktoken has no encoding {encoding!r}: {error}") from error

    def count(self, text: str) -> int:
        return len(self._encoding.encode_ordinary(text))

    def cut(self, text: str, limit: int) -> int:
        ids = self._encoding.encode_ordinary(text)
        if len(ids) <= limit:
            return len(text)
        # A token can end inside of a character: drop what does not decode.
        kept = self._encoding.decode_bytes(ids[: max(0, limit)]).decode("utf-8", "ignore")
        return len(kept)


class _HuggingFace:
    def __init__(self, path: str) -> None:
        try:
            from tokenizers import Tokenizer as Backend  # noqa: PLC0415 - optional
        except ImportError as error:
            raise MissingExtraError("tokenizers", "hf", f"the tokenizer {path!r}") from error
        if not Path(path).is_file():
            raise ConfigError(f"no tokenizer file {path!r}; expected a tokenizer.json")
        self.name = f"tokenizers:{path}"
        self._backend = Backend.from_file(path)

    def count(self, text: str) -> int:
        return len(self._backend.encode(text, add_special_tokens=False).ids)

    def cut(self, text: str, limit: int) -> int:
        offsets = self._backend.encode(text, add_special_tokens=False).offsets
        if len(offsets) <= limit:
            return len(text)
        return int(offsets[limit - 1][1]) if limit > 0 else 0
