"""``DirectorySource``: the files of a directory, and what changed since the last run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import attrs
import orjson

from sage.common.errors import ConfigError
from sage.common.paths import replacing, within
from sage.lib.contracts import SourceFunction
from sage.lib.errors import InputFileError
from sage.lib.io.source.changes import FileChange

_FORMAT = 1


class DirectorySource(SourceFunction[FileChange]):
    """Yields a ``FileChange`` for every file that was added, changed or removed.

    What changed is told by content (BLAKE2b), not by time: a file whose time and size are those of
    the last run is taken as unchanged without being read again, unless ``verify``. With
    ``state_file`` the next run reports only what changed since; without it every file is
    ``added``. Order: removed files, then the others, each by path.

    The state is written when the last change has been handed on. A run that fails or is stopped
    before that reports the same changes again, so what comes after should be idempotent by ``id``.
    Links that lead out of the directory are not followed.

    Example:
        >>> env.from_source(DirectorySource, {"path": "docs", "pattern": ["**/*.md", "**/*.pdf"]})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            path: The directory.
            pattern: One glob or several, below the directory; ``**`` is any number of folders.
            exclude: Globs of what is left out.
            state_file: JSON file that remembers paths and hashes between runs. Best outside of the
                directory; inside, it is left out by itself.
            hidden: Also files and folders whose name begins with a dot.
            verify: Read and hash every file, also those whose time and size did not change.
            unchanged: Also yield files that did not change.
            max_files: More files than this are an error: a wrong path should not read a whole disk.
        """

        path: str
        pattern: Any = "**/*"
        exclude: tuple[str, ...] = ()
        state_file: str | None = None
        hidden: bool = False
        verify: bool = False
        unchanged: bool = False
        max_files: int = attrs.field(default=1_000_000, validator=attrs.validators.ge(1))

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        pattern = self.config.pattern
        self._patterns = [pattern] if isinstance(pattern, str) else list(pattern)
        for each in (*self._patterns, *self.config.exclude):
            if not isinstance(each, str) or not each or PurePosixPath(each).is_absolute():
                raise ConfigError(
                    f"DirectorySource: pattern must be a glob below the directory, got {each!r}"
                )
        self._root = Path(self.config.path).expanduser()
        state = self.config.state_file
        self._state_path = None if state is None else Path(state).expanduser()
        self._offset = 0
        self._skip = 0

    @property
    def offset(self) -> int:
        """Changes handed on so far; ``seek`` to it to go on after them."""
        return self._offset

    def seek(self, offset: int) -> None:
        """Start after the first ``offset`` changes (of the same state file); before ``run``."""
        self._skip = self._offset = offset

    def run(self) -> Iterator[FileChange]:
        """Yield the changes.

        Raises:
            InputFileError: The directory or a file cannot be read.
            ConfigError: The state file is none, or there are more than ``max_files`` files.
        """
        if not self._root.is_dir():
            raise InputFileError(
                f"{str(self._root)!r} is no directory; relative paths start at {str(Path.cwd())!r}",
                path=str(self._root),
                line=None,
            )
        known = self._load()
        current = dict(known)
        self._offset = 0
        for change in self._changes(known):
            if change.change == "removed":
                del current[change.id]
            else:
                current[change.id] = _entry(change)
            if change.change == "unchanged" and not self.config.unchanged:
                continue
            self._offset += 1
            if self._offset > self._skip:
                yield change
        if self._state_path is not None and current != known:
            self._save(current)

    def _changes(self, known: Mapping[str, Mapping[str, Any]]) -> Iterator[FileChange]:
        found = self._files()
        for name in sorted(known.keys() - found.keys()):
            old = known[name]
            yield FileChange(
                id=name,
                path=str(self._root.absolute() / name),
                change="removed",
                hash=old["hash"],
                size=old["size"],
                modified=old["modified"],
            )
        for name in sorted(found):
            change = self._compare(name, found[name], known.get(name))
            if change is not None:
                yield change

    def _files(self) -> dict[str, Path]:
        root = self._root.resolve()
        own = None if self._state_path is None else self._state_path.resolve()
        found: dict[str, Path] = {}
        for pattern in self._patterns:
            for path in root.glob(pattern):
                name = path.relative_to(root).as_posix()
                if name in found or not path.is_file():
                    continue
                if not self.config.hidden and any(p.startswith(".") for p in name.split("/")):
                    continue
                if any(_matches(name, each) for each in self.config.exclude):
                    continue
                try:
                    target = within(root, name)
                except ConfigError:
                    continue  # a link that leads out
                if target == own:
                    continue
                found[name] = target
                if len(found) > self.config.max_files:
                    raise ConfigError(
                        f"{str(root)!r} has more than {self.config.max_files:,} files that match; "
                        "narrow pattern or raise max_files"
                    )
        return found

    def _compare(self, name: str, path: Path, old: Mapping[str, Any] | None) -> FileChange | None:
        try:
            status = path.stat()
            same = (
                old is not None
                and old["size"] == status.st_size
                and old["modified"] == status.st_mtime
            )
            if old is not None and same and not self.config.verify:
                digest = old["hash"]
            else:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, _blake).hexdigest()
        except FileNotFoundError:
            return None  # removed meanwhile: the next run says so
        except OSError as error:
            raise InputFileError(
                f"cannot read {str(path)!r}: {error.strerror}", path=str(path), line=None
            ) from error
        kind = "added" if old is None else "unchanged" if digest == old["hash"] else "changed"
        return FileChange(
            id=name,
            path=str(path),
            change=kind,
            hash=digest,
            size=status.st_size,
            modified=status.st_mtime,
        )

    def _load(self) -> dict[str, dict[str, Any]]:
        if self._state_path is None or not self._state_path.exists():
            return {}
        try:
            state = orjson.loads(self._state_path.read_bytes())
            if state["format"] != _FORMAT:
                raise ValueError(f"format {state['format']}")
            files: dict[str, dict[str, Any]] = state["files"]
            if state["root"] != str(self._root.resolve()):
                raise ValueError(f"it belongs to the directory {state['root']!r}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{str(self._state_path)!r} is no state file of this DirectorySource ({error}); "
                "choose another state_file, or remove it to report every file again"
            ) from error
        return files

    def _save(self, files: Mapping[str, Any]) -> None:
        assert self._state_path is not None
        data = orjson.dumps(
            {"format": _FORMAT, "root": str(self._root.resolve()), "files": files},
            option=orjson.OPT_INDENT_2,
        )
        self._state_path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._state_path) as file:
            file.write(data)


def _blake() -> Any:
    return hashlib.blake2b(digest_size=16)


def _entry(change: FileChange) -> dict[str, Any]:
    return {"hash": change.hash, "size": change.size, "modified": change.modified}


def _matches(name: str, pattern: str) -> bool:
    path = PurePosixPath(name)
    # "**/x" also means "x" at the top; a pattern without a slash matches any level.
    return path.match(pattern) or (pattern.startswith("**/") and path.match(pattern[3:]))
