"""Dead letters: items that failed for good, written so that a person can read and requeue them.

A JSONL file, one object per line (shown here on several)::

    {"time": "2026-11-22T10:15:00.123Z", "job": ..., "operator": ..., "uid": ..., "item_id": ...,
     "item": ..., "item_type": "dict", "exact": true, "attempts": 3,
     "error": {"type": "builtins.ValueError", "message": ..., "traceback": [its last lines]}}

``item`` is the item itself when it is plain JSON (``exact``: it can be put into the pipeline again
as it is). Attrs values, dataclasses and the like are written as their JSON form with ``item_type``
naming the class; what has no JSON form is written as its repr. Known secrets are masked
everywhere; an item in which one was masked is no longer exact.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Final, TextIO

from sage.common.errors import JobError

TRACEBACK_LINES: Final = 20
_LONGEST_REPR: Final = 10_000


class DeadLetters:
    """Writes dead letters of one job; may be used from any thread.

    Args:
        path: File to append to (made with its folder at the first letter, readable by its owner
            only); ``None`` keeps letters in memory alone.
        keep: How many letters ``recent`` remembers.
    """

    def __init__(self, path: str | os.PathLike[str] | None, *, keep: int = 1000) -> None:
        self.path = None if path is None else Path(path)
        self._recent: deque[dict[str, Any]] = deque(maxlen=keep)
        self._listeners: list[Callable[[dict[str, Any]], None]] = []
        self._lock = threading.Lock()
        self._file: TextIO | None = None
        self._count = 0
        self._closed = False

    def write(
        self,
        *,
        job: str,
        operator: str,
        uid: str,
        item_id: str | None,
        item: Any,
        error: BaseException,
        attempts: int = 1,
    ) -> dict[str, Any]:
        """Write one letter, flush it, and return it.

        Args:
            job: Id of the run.
            operator: Name of the step.
            uid: Stable id of the step.
            item_id: Id of the record.
            item: The input of the call that failed.
            error: What the last call raised.
            attempts: Calls made for the item.

        Raises:
            JobError: The file cannot be written, or the letters were closed.
        """
        letter = make_letter(
            job=job,
            operator=operator,
            uid=uid,
            item_id=item_id,
            item=item,
            error=error,
            attempts=attempts,
        )
        with self._lock:
            if self._closed:
                raise JobError(f"dead letters of job {job!r} are closed")
            if self.path is not None:
                self._append(self.path, letter)
            self._recent.append(letter)
            self._count += 1
            listeners = list(self._listeners)
        for listener in listeners:
            listener(letter)
        return letter

    def recent(self) -> list[dict[str, Any]]:
        """The last letters, oldest first."""
        with self._lock:
            return list(self._recent)

    def subscribe(self, listener: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """Call ``listener`` for each new letter, on the thread that writes it.

        Returns:
            A function that ends the subscription.
        """
        with self._lock:
            self._listeners.append(listener)

        def unsubscribe() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return unsubscribe

    def rewind(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Remove the letters that ``keep`` does not want, from the file too, in one step.

        Raises:
            JobError: The file cannot be read or written.
        """
        with self._lock:
            kept = [letter for letter in self._recent if keep(letter)]
            self._recent.clear()
            self._recent.extend(kept)
            if self.path is None or not self.path.exists():
                return
            if self._file is not None:
                self._file.close()
                self._file = None
            letters = [letter for letter in read_letters(self.path) if keep(letter)]
            whole = self.path.with_name(f".{self.path.name}.tmp")
            whole.unlink(missing_ok=True)
            try:
                with _open_private(whole) as file:
                    for letter in letters:
                        file.write(_line(letter))
                whole.replace(self.path)
            except OSError as error:
                raise JobError(
                    f"cannot write the dead letters {str(self.path)!r}: {error.strerror or error}"
                ) from error
            self._count = len(letters)

    def close(self) -> None:
        """Close the file; no letter can be written any more."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._file.close()
                self._file = None

    def __len__(self) -> int:
        """Letters written, also those that ``recent`` has forgotten."""
        return self._count

    def _append(self, path: Path, letter: dict[str, Any]) -> None:
        try:
            if self._file is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = _open_private(path)
            self._file.write(_line(letter))
            self._file.flush()
        except OSError as error:
            raise JobError(
                f"cannot write the dead letter of item {letter['item_id']!r} of step "
                f"{letter['operator']!r} to {str(path)!r}: {error.strerror or error}",
                path=str(path),
                letter=letter,
            ) from error


def make_letter(
    *,
    job: str,
    operator: str,
    uid: str,
    item_id: str | None,
    item: Any,
    error: BaseException,
    attempts: int = 1,
) -> dict[str, Any]:
    """A letter as plain JSON data, secrets masked; see the module."""
    import traceback  # noqa: PLC0415 - costs milliseconds, and only failures need it
    from datetime import UTC, datetime  # noqa: PLC0415

    from sage.common.secrets import redact  # noqa: PLC0415

    lines = "".join(traceback.format_exception(error)).rstrip("\n").split("\n")
    kind = type(error)
    plain, exact = _plain(item)
    masked = _mask(plain, redact)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {
        "time": now.replace("+00:00", "Z"),
        "job": job,
        "operator": operator,
        "uid": uid,
        "item_id": item_id,
        "item": masked,
        "item_type": _type_name(type(item)),
        "exact": exact and masked == plain,
        "error": {
            "type": f"{kind.__module__}.{kind.__qualname__}",
            "message": redact(_text(error, str)),
            "traceback": [redact(line) for line in lines[-TRACEBACK_LINES:]],
        },
        "attempts": attempts,
    }


def read_letters(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Letters of a file, in order; a last line cut off by a crash is left out.

    Raises:
        JobError: The file cannot be read, or a line before the last is not a letter.
    """
    import json  # noqa: PLC0415

    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"cannot read dead letters from {str(path)!r}: {error}") from error
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            letter = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return
            raise JobError(f"{path}:{number}: not a dead letter: {error}") from error
        if not isinstance(letter, dict) or "item" not in letter or "operator" not in letter:
            raise JobError(f"{path}:{number}: not a dead letter: it has no item and operator")
        yield letter


def _line(letter: dict[str, Any]) -> str:
    import json  # noqa: PLC0415 - only jobs with dead letters need it

    line = json.dumps(letter, ensure_ascii=False, allow_nan=False)
    # Lone surrogates cannot be encoded; as an escape they are still the same JSON string.
    if not line.isascii() and not _encodable(line):
        line = json.dumps(letter, allow_nan=False)
    return line + "\n"


def _open_private(path: Path) -> TextIO:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    return os.fdopen(descriptor, "a", encoding="utf-8", newline="\n")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(item: Any) -> tuple[Any, bool]:
    """A JSON form of ``item``, and whether reading it gives an equal value of the same type."""
    try:
        if _is_json(item):
            return item, True
        import msgspec  # noqa: PLC0415 - knows attrs, dataclasses, enums, dates, sets

        return msgspec.json.decode(msgspec.json.encode(item, enc_hook=_readable)), False
    except Exception:  # noqa: BLE001 - any object may refuse in its own way; a letter must be written
        return _text(item, repr), False


def _is_json(value: Any) -> bool:
    kind = type(value)
    if kind in (str, int, bool, NoneType):
        return True
    if kind is float:
        return bool(value - value == 0)  # JSON has no NaN and no infinities
    if kind is list:
        return all(_is_json(part) for part in value)
    if kind is dict:
        return all(type(key) is str and _is_json(part) for key, part in value.items())
    return False


def _readable(value: Any) -> Any:
    return _text(value, repr)


def _mask(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_mask(part, redact) for part in value]
    if isinstance(value, dict):
        return {redact(key): _mask(part, redact) for key, part in value.items()}
    return value


def _text(value: Any, form: Callable[[Any], str]) -> str:
    try:
        text = form(value)
    except Exception as error:  # noqa: BLE001 - a broken __repr__ must not lose the letter
        return f"<{type(value).__name__}: its {form.__name__}() raised {type(error).__name__}>"
    return text if len(text) <= _LONGEST_REPR else f"{text[: _LONGEST_REPR - 1]}…"


def _type_name(kind: type) -> str:
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}:{kind.__qualname__}"
