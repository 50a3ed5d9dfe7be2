"""The manifest of a checkpoint: which parts it has, and where in which pack their bytes are.

A JSON file, ``{"checksum": ..., "manifest": {...}}``, written last: a checkpoint exists from the
moment its manifest has its name. Successor: ``sage.kernel.checkpoint.packs``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import attrs
import orjson

from sage.kernel.checkpoint.errors import CheckpointError

FORMAT: Final = 1
_HEAD: Final = b'{"checksum":"'
_MIDDLE: Final = b'","manifest":'
_TAIL: Final = b"}\n"
_PACK_NAME: Final = re.compile(r"[\w-]+\.pack")


def content_hash(data: bytes) -> str:
    """By which the bytes of a part are known."""
    return hashlib.blake2b(data, digest_size=20).hexdigest()


@attrs.frozen(kw_only=True)
class CheckpointInfo:
    """What there is to know of a checkpoint without reading it.

    Attributes:
        id: Its number; later ones have higher numbers.
        time: When it was written, unix seconds.
        bytes: Size of its parts.
        new_bytes: What it added to the disk: parts that were not there yet, and the manifest.
        facts: As given when it was written.
    """

    id: int
    time: float
    bytes: int
    new_bytes: int
    facts: Mapping[str, Any]


class Blob(NamedTuple):
    """Where the bytes of a part are."""

    hash: str
    pack: str
    offset: int
    length: int


@attrs.frozen(kw_only=True)
class Manifest:
    """Content of a manifest.

    Attributes:
        id: Number of the checkpoint.
        time: When it was written, unix seconds.
        facts: Plain data of the writer.
        pack_bytes: Size of the pack that was written for it; 0, if nothing was new.
        packs: Sizes of the packs it refers to.
        parts: The parts.
    """

    id: int
    time: float
    facts: Mapping[str, Any]
    pack_bytes: int
    packs: Mapping[str, int]
    parts: Mapping[str, Blob]

    def info(self, manifest_bytes: int) -> CheckpointInfo:
        """Its summary."""
        return CheckpointInfo(
            id=self.id,
            time=self.time,
            bytes=sum(blob.length for blob in self.parts.values()),
            new_bytes=self.pack_bytes + manifest_bytes,
            facts=self.facts,
        )

    def to_bytes(self) -> bytes:
        """The file.

        Raises:
            CheckpointError: The facts are not plain data.
        """
        packs = list(self.packs)
        at = {pack: index for index, pack in enumerate(packs)}
        content = {
            "format": FORMAT,
            "id": self.id,
            "time": self.time,
            "facts": self.facts,
            "pack_bytes": self.pack_bytes,
            "packs": [[pack, self.packs[pack]] for pack in packs],
            "parts": {
                name: [blob.hash, at[blob.pack], blob.offset, blob.length]
                for name, blob in self.parts.items()
            },
        }
        try:
            body = orjson.dumps(content)
        except TypeError as exc:
            raise CheckpointError(
                f"checkpoint {self.id} cannot be written: names of parts and facts must be plain "
                f"data, {exc}"
            ) from exc
        checksum = content_hash(body).encode()
        return b"".join((_HEAD, checksum, _MIDDLE, body, _TAIL))


def read_manifest(path: Path) -> tuple[Manifest, int]:
    """A manifest and the size of its file.

    Raises:
        CheckpointError: It is damaged, or of another format.
        FileNotFoundError: It is not there.
    """
    data = path.read_bytes()
    start = len(_HEAD) + 40 + len(_MIDDLE)
    body = data[start : -len(_TAIL)]
    if b"".join((_HEAD, content_hash(body).encode(), _MIDDLE, body, _TAIL)) != data:
        raise CheckpointError(
            f"{str(path)!r} is damaged: its checksum does not match its content", file=str(path)
        )
    try:
        return _structure(path, orjson.loads(body)), len(data)
    except (IndexError, KeyError, TypeError, ValueError) as exc:
        raise CheckpointError(
            f"{str(path)!r} is not a manifest of a checkpoint: {type(exc).__name__}: {exc}",
            file=str(path),
        ) from exc


def _structure(path: Path, content: Any) -> Manifest:
    if content["format"] != FORMAT:
        raise CheckpointError(
            f"{str(path)!r} has format {content['format']!r}, and this version of SAGE reads "
            f"format {FORMAT}; read it with the version that wrote it",
            file=str(path),
        )
    packs = dict(content["packs"])
    for pack in packs:
        if _PACK_NAME.fullmatch(pack) is None:
            raise CheckpointError(
                f"{str(path)!r} names a pack {pack!r}, which is not a file of its own folder",
                file=str(path),
            )
    names = list(packs)
    parts = {}
    for name, (hash_, at, offset, length) in content["parts"].items():
        if min(at, offset, length) < 0:
            raise ValueError(f"part {name!r} is nowhere")
        parts[name] = Blob(hash_, names[at], offset, length)
    return Manifest(
        id=content["id"],
        time=content["time"],
        facts=content["facts"],
        pack_bytes=content["pack_bytes"],
        packs=packs,
        parts=parts,
    )
