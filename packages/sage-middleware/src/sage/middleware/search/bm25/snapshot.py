"""Snapshots of an index on disk: arrays and text, checked, without pickle.

A folder holds ``manifest.json`` and one file per array. Files are never changed: a new snapshot
writes new files beside the old, then replaces the manifest, then removes what it no longer names.
"""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import attrs
import msgspec
import numpy as np
import numpy.typing as npt

from sage.common.errors import ServiceError
from sage.middleware.search.bm25.segment import Floats, Ints, Segment
from sage.middleware.search.text.analyzer import ANALYSIS_VERSION

_FORMAT = "sage-bm25/1"
_MANIFEST = "manifest.json"


class SnapshotError(ServiceError):
    """A snapshot is missing, damaged or of another version: build it anew from its truth."""


@attrs.define(kw_only=True)
class State:
    """Everything a snapshot holds."""

    k1: float
    b: float
    language: str
    stemming: bool
    stop_words: bool
    terms: Sequence[str]
    segments: list[Segment]
    owner: Ints
    lengths: Floats
    next_serial: int
    note: dict[str, Any]


def _put(folder: Path, data: bytes, suffix: str) -> dict[str, Any]:
    name = f"{secrets.token_hex(8)}.{suffix}"
    with (folder / name).open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return {"file": name, "bytes": len(data), "crc32": crc32(data)}


def _array_bytes(array: npt.NDArray[Any]) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


def _get(folder: Path, entry: dict[str, Any]) -> bytes:
    name: str = entry["file"]
    if Path(name).name != name:
        raise SnapshotError(f"snapshot {str(folder)!r} names a file outside of itself: {name!r}")
    data: bytes = (folder / name).read_bytes()
    if len(data) != entry["bytes"] or crc32(data) != entry["crc32"]:
        raise SnapshotError(
            f"snapshot file {name!r} in {str(folder)!r} is damaged: checksum differs"
        )
    return data


def _array(folder: Path, entry: dict[str, Any]) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.lib.format.read_array(
        io.BytesIO(_get(folder, entry)), allow_pickle=False
    )
    return array


def _segment_entry(folder: Path, segment: Segment, known: dict[str, Any]) -> dict[str, Any]:
    if segment.saved_as in known:
        entry: dict[str, Any] = dict(known[segment.saved_as])
    else:
        entry = {
            name: _put(folder, _array_bytes(getattr(segment, name)), "npy")
            for name in ("terms", "starts", "docs", "tfs")
        }
    return {**entry, "serial": segment.serial, "documents": segment.documents, "dead": segment.dead}


def write(folder: Path, state: State) -> None:
    """Makes ``state`` the snapshot in ``folder``, which is created if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        known = {entry["terms"]["file"]: entry for entry in _manifest(folder)["segments"]}
    except (OSError, ValueError, KeyError, TypeError, SnapshotError):
        known = {}
    segments = [_segment_entry(folder, segment, known) for segment in state.segments]
    manifest = {
        "format": _FORMAT,
        "analysis": ANALYSIS_VERSION,
        "k1": state.k1,
        "b": state.b,
        "language": state.language,
        "stemming": state.stemming,
        "stop_words": state.stop_words,
        "next_serial": state.next_serial,
        "note": state.note,
        "segments": segments,
        "vocabulary": _put(folder, "\n".join(state.terms).encode(), "txt"),
        "owner": _put(folder, _array_bytes(state.owner), "npy"),
        "lengths": _put(folder, _array_bytes(state.lengths), "npy"),
    }
    body = msgspec.json.encode(manifest)
    part = folder / f"{_MANIFEST}.{secrets.token_hex(4)}"
    with part.open("xb") as file:
        file.write(msgspec.json.encode({"crc32": crc32(body), "body": msgspec.Raw(body)}))
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / _MANIFEST)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    for segment, entry in zip(state.segments, segments, strict=True):
        segment.saved_as = entry["terms"]["file"]
    _sweep(folder, manifest)


def _named(manifest: dict[str, Any]) -> set[str]:
    entries = [manifest["vocabulary"], manifest["owner"], manifest["lengths"]]
    entries += [
        s[name] for s in manifest["segments"] for name in ("terms", "starts", "docs", "tfs")
    ]
    return {entry["file"] for entry in entries}


def _sweep(folder: Path, manifest: dict[str, Any]) -> None:
    keep = {_MANIFEST, *_named(manifest)}
    for path in folder.iterdir():
        ours = path.suffix in {".npy", ".txt"} or path.name.startswith(_MANIFEST)
        if ours and path.name not in keep:
            path.unlink(missing_ok=True)


def read(folder: Path) -> State:
    """The snapshot in ``folder``.

    Raises:
        SnapshotError: Missing, damaged, or made by another version.
    """
    try:
        return _read(folder)
    except FileNotFoundError as exc:
        raise SnapshotError(f"no complete snapshot in {str(folder)!r}: {exc.filename}") from exc
    except (OSError, ValueError, KeyError, TypeError, msgspec.MsgspecError) as exc:
        raise SnapshotError(f"snapshot in {str(folder)!r} cannot be read: {exc}") from exc


def _manifest(folder: Path) -> dict[str, Any]:
    outer = msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=dict[str, msgspec.Raw])
    body = bytes(outer["body"])
    if crc32(body) != msgspec.json.decode(outer["crc32"], type=int):
        raise SnapshotError(f"the manifest of the snapshot in {str(folder)!r} is damaged")
    manifest: dict[str, Any] = msgspec.json.decode(body)
    return manifest


def _read(folder: Path) -> State:
    manifest = _manifest(folder)
    if manifest["format"] != _FORMAT or manifest["analysis"] != ANALYSIS_VERSION:
        raise SnapshotError(
            f"snapshot in {str(folder)!r} is of version {manifest['format']}, "
            f"{manifest['analysis']}; this version makes {_FORMAT}, {ANALYSIS_VERSION}"
        )
    owner, lengths = _array(folder, manifest["owner"]), _array(folder, manifest["lengths"])
    segments = []
    for entry in manifest["segments"]:
        terms, starts, docs, tfs = (
            _array(folder, entry[name]) for name in ("terms", "starts", "docs", "tfs")
        )
        segment = Segment(entry["serial"], terms, starts, docs, tfs, entry["documents"])
        segment.dead = entry["dead"]
        segment.saved_as = entry["terms"]["file"]
        segments.append(segment)
    text = _get(folder, manifest["vocabulary"]).decode()
    return State(
        k1=manifest["k1"],
        b=manifest["b"],
        language=manifest["language"],
        stemming=manifest["stemming"],
        stop_words=manifest["stop_words"],
        terms=text.split("\n") if text else [],
        segments=segments,
        owner=owner,
        lengths=lengths,
        next_serial=manifest["next_serial"],
        note=manifest["note"],
    )
