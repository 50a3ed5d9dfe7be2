"""The checkpoints of one run, in one folder.

``checkpoint-00000007.json`` is a manifest, ``00000007-5f1c09aa.pack`` the bytes that were new with
it, ``lock`` is held by the process that writes. Parts are stored once by content: a part that is as
it was in a checkpoint that is kept is not written again. Packs of which most is out of use are
given up by writing what is left of them with the next checkpoint, so the folder holds at most
about twice the newest checkpoint, beside what changed over those that are kept.

Predecessor: ``sage.kernel.checkpoint.coordinator``; successor: ``sage.kernel.checkpoint.packs``.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import threading
import time
import warnings
import weakref
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final, Self

from sage.common.errors import ConfigError
from sage.common.paths import sync_folder
from sage.kernel.checkpoint.errors import CheckpointError, CheckpointLockedError, CheckpointWarning
from sage.kernel.checkpoint.manifest import (
    Blob,
    CheckpointInfo,
    Manifest,
    content_hash,
    read_manifest,
)
from sage.kernel.checkpoint.packs import (
    MAGIC,
    Checkpoint,
    Pin,
    lay_out,
    verify,
    write_file,
)
from sage.kernel.checkpoint.savepoint import export_savepoint, open_savepoint

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CheckpointInfo",
    "CheckpointLockedError",
    "CheckpointStore",
    "CheckpointWarning",
    "open_savepoint",
]

MAX_PACKS: Final = 64
"""Packs one checkpoint may refer to; beyond it the smallest are written together."""

_MANIFEST_NAME: Final = re.compile(r"checkpoint-(\d+)\.json")


class CheckpointStore:
    """See the module. Methods may be called from any thread.

    Args:
        path: The folder; it is made.
        keep: How many of the newest checkpoints are kept, >= 1.
        durability: ``power``: a checkpoint that was written survives a loss of power; ``process``:
            it survives the death of the process.
        read_only: Look at the checkpoints, also of a job that runs, without writing any.

    Raises:
        CheckpointLockedError: Another process has the store open for writing.
        ConfigError: A setting is out of range.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        keep: int = 3,
        durability: str = "power",
        read_only: bool = False,
    ) -> None:
        if durability not in ("power", "process") or keep < 1:
            raise ConfigError(
                "a checkpoint store needs keep >= 1 and durability 'power' or 'process', got "
                f"keep={keep!r} and durability={durability!r}"
            )
        self.path = Path(path)
        self._keep = keep
        self._sync = durability == "power"
        self._mutex = threading.RLock()
        self._lock = -1
        self._read_only = read_only
        self._pins: weakref.WeakSet[Pin] = weakref.WeakSet()
        self._infos: dict[int, CheckpointInfo] = {}
        self._manifests: dict[int, Manifest] = {}
        self._unreadable: dict[int, tuple[str, Path]] = {}
        self._unsound: set[int] = set()
        # Written or checked by this process: only what these refer to is not written again.
        self._trusted: set[int] = set()
        if not read_only:
            self._make_folder()
            self._lock = self._acquire()
        self._scan()
        if not read_only:
            self._collect()

    def close(self) -> None:
        """Let other processes write it."""
        with self._mutex:
            self._read_only = True
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def list(self) -> list[CheckpointInfo]:
        """The checkpoints, oldest first. That they are listed does not mean they are sound."""
        with self._mutex:
            if self._read_only:
                self._scan()
            return [self._infos[number] for number in sorted(self._infos)]

    def write(
        self, checkpoint_id: int, parts: Mapping[str, bytes], facts: Mapping[str, Any]
    ) -> CheckpointInfo:
        """Add a checkpoint, and remove those beyond ``keep``. It is there entirely or not at all.

        Args:
            checkpoint_id: Its number, higher than those before.
            parts: Bytes by name.
            facts: Plain data (what JSON can say) to keep beside them.

        Raises:
            CheckpointError: There is one of this number, or the facts are not plain data.
            OSError: The disk refused; the store is as before.
        """
        with self._mutex:
            if self._read_only:
                raise CheckpointError(
                    f"the checkpoint store {str(self.path)!r} is closed or read-only"
                )
            if checkpoint_id in self._manifests:
                raise CheckpointError(
                    f"there is a checkpoint {checkpoint_id} in {str(self.path)!r} already"
                )
            info = self._write(checkpoint_id, parts, facts)
            self._collect()
            return info

    def load(self, checkpoint_id: int | None = None) -> Checkpoint | None:
        """A checkpoint, checked to its last byte.

        Args:
            checkpoint_id: Which one; if not given, the newest that is sound. A damaged one is
                passed over with a ``CheckpointWarning``.

        Returns:
            The checkpoint; ``None`` if there is none (of that number).

        Raises:
            CheckpointError: That checkpoint is damaged, or all of them are.
        """
        with self._mutex:
            if self._read_only:
                self._scan()
            if checkpoint_id is not None:
                return self._load(checkpoint_id)
            problems = []
            for number in sorted({*self._manifests, *self._unreadable}, reverse=True):
                try:
                    checkpoint = self._load(number)
                except CheckpointError as error:
                    problems.append((number, str(error), error.data.get("file")))
                    continue
                for damaged, problem, _ in problems:
                    warnings.warn(
                        f"checkpoint {damaged} is passed over, going on from checkpoint {number}: "
                        f"{problem}",
                        CheckpointWarning,
                        stacklevel=2,
                    )
                return checkpoint
            if problems:
                raise CheckpointError(
                    f"none of the {len(problems)} checkpoints in {str(self.path)!r} is sound: "
                    + "; ".join(problem for _, problem, _ in problems),
                    file=problems[0][2],
                )
            return None

    def export(self, checkpoint: Checkpoint, path: Path | str) -> Path:
        """Write a checkpoint as a savepoint: a folder that needs nothing else.

        Raises:
            CheckpointError: There is something at ``path`` already, or the checkpoint is damaged.
        """
        return export_savepoint(checkpoint, path, sync=self._sync)

    # ------------------------------------------------------------------ opening

    def _make_folder(self) -> None:
        missing = [self.path, *self.path.parents]
        missing = missing[: next(i for i, each in enumerate(missing) if each.exists())]
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
            if self._sync:
                sync_folder(folder.parent)

    def _acquire(self) -> int:
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            text = os.read(handle, 32).decode("ascii", "replace").strip()
            os.close(handle)
            pid = int(text) if text.isdigit() else None
            owner = "this process" if pid == os.getpid() else f"process {pid or '(unknown)'}"
            raise CheckpointLockedError(
                f"the checkpoint store {str(self.path)!r} is being written by {owner}; wait until "
                "that job ends or stop it, or open the store with read_only=True",
                file=str(self.path),
                pid=pid,
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        return handle

    def _scan(self) -> None:
        """Read the manifests."""
        self._infos, self._manifests, self._unreadable = {}, {}, {}
        for number, path in self._files():
            try:
                manifest, size = read_manifest(path)
            except FileNotFoundError:
                continue  # removed by its owner meanwhile
            except CheckpointError as error:
                self._unreadable[number] = (str(error), path)
            except OSError as exc:
                problem = f"{str(path)!r} cannot be read: {exc.strerror}"
                self._unreadable[number] = (problem, path)
            else:
                self._manifests[number] = manifest
                self._infos[number] = manifest.info(size)

    def _files(self) -> Iterator[tuple[int, Path]]:
        if self.path.is_dir():
            for path in sorted(self.path.iterdir()):
                match = _MANIFEST_NAME.fullmatch(path.name)
                if match is not None:
                    yield int(match[1]), path

    # ------------------------------------------------------------------ reading

    def _load(self, number: int) -> Checkpoint | None:
        if number in self._unreadable:
            problem, path = self._unreadable[number]
            raise CheckpointError(problem, file=str(path))
        manifest = self._manifests.get(number)
        if manifest is None:
            return None
        try:
            verify(self.path, manifest)
        except CheckpointError:
            self._unsound.add(number)
            raise
        self._trusted.add(number)
        pin = Pin(manifest.packs)
        self._pins.add(pin)
        return Checkpoint(self.path, manifest, pin)

    # ------------------------------------------------------------------ writing

    def _write(
        self, number: int, parts: Mapping[str, bytes], facts: Mapping[str, Any]
    ) -> CheckpointInfo:
        hashes = {name: content_hash(data) for name, data in parts.items()}
        contents = {hash_: parts[name] for name, hash_ in hashes.items()}
        placed = self._known(contents)
        pack = f"{number:08}-{secrets.token_hex(4)}.pack"
        new = {hash_: data for hash_, data in contents.items() if hash_ not in placed}
        added, size = lay_out({hash_: len(data) for hash_, data in new.items()}, pack)
        placed.update(added)
        sizes = {pack: size}
        for known in self._manifests.values():
            sizes.update(known.packs)
        manifest = Manifest(
            id=number,
            time=time.time(),
            facts=dict(facts),
            pack_bytes=size if new else 0,
            packs={blob.pack: sizes[blob.pack] for blob in placed.values()},
            parts={name: placed[hash_] for name, hash_ in hashes.items()},
        )
        data = manifest.to_bytes()
        path = self.path / f"checkpoint-{number:08}.json"
        temporary = path.with_suffix(".tmp")
        try:
            if new:
                chunks = chain((MAGIC,), new.values())
                write_file(self.path / pack, chunks, sync=self._sync)
            write_file(temporary, (data,), sync=self._sync)
            temporary.replace(path)
            if self._sync:
                sync_folder(self.path)
        except BaseException:
            for each in (path, temporary, self.path / pack):
                each.unlink(missing_ok=True)
            raise
        self._unreadable.pop(number, None)
        self._unsound.discard(number)
        self._trusted.add(number)
        self._manifests[number] = manifest
        info = self._infos[number] = manifest.info(len(data))
        return info

    def _known(self, contents: Mapping[str, bytes]) -> dict[str, Blob]:
        """Where contents are stored already, leaving out packs that are to be given up."""
        trusted = [self._manifests[n] for n in sorted(self._trusted & self._manifests.keys())]
        sizes = {pack: size for manifest in trusted for pack, size in manifest.packs.items()}
        known = {
            blob.hash: blob
            for manifest in trusted
            for blob in manifest.parts.values()
            if blob.hash in contents
        }
        live = dict.fromkeys(sizes, 0)
        for blob in known.values():
            live[blob.pack] += blob.length
        given_up = {pack for pack, used in live.items() if used * 2 < sizes[pack]}
        left = sorted(live.keys() - given_up, key=live.__getitem__)
        if len(left) > MAX_PACKS:
            given_up.update(left[: len(left) - MAX_PACKS // 2])
        return {hash_: blob for hash_, blob in known.items() if blob.pack not in given_up}

    def _collect(self) -> None:
        """Remove checkpoints beyond ``keep``, packs nobody refers to, and what was left behind.

        Damaged checkpoints do not count. They stay, with the packs they may refer to, as long as
        an older one is kept.
        """
        sound = sorted(self._manifests.keys() - self._unsound, reverse=True)
        oldest = min(sound[: self._keep], default=0)
        for number, path in self._files():
            if number < oldest:
                self._remove(path)
                for known in (self._manifests, self._infos, self._unreadable):
                    known.pop(number, None)
        in_use = {pack for manifest in self._manifests.values() for pack in manifest.packs}
        in_use.update(pack for pin in self._pins for pack in pin.packs)
        for path in self.path.iterdir():
            left_behind = path.suffix == ".tmp"
            unused = path.suffix == ".pack" and path.name not in in_use and not self._unreadable
            if left_behind or unused:
                self._remove(path)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            warnings.warn(
                f"{str(path)!r} is not needed any more and cannot be removed: {exc.strerror}",
                CheckpointWarning,
                stacklevel=3,
            )
