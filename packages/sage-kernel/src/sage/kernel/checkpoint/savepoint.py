"""Savepoints: one checkpoint in a folder of its own, to keep, to move, and to start from.

Predecessor: ``sage.kernel.checkpoint.packs``.
"""

from __future__ import annotations

import os
import shutil
import time
from itertools import chain
from pathlib import Path
from typing import Final

import attrs

from sage.common.paths import sync_folder
from sage.kernel.checkpoint.errors import CheckpointError
from sage.kernel.checkpoint.manifest import read_manifest
from sage.kernel.checkpoint.packs import (
    MAGIC,
    Checkpoint,
    lay_out,
    verify,
    write_file,
)

MANIFEST: Final = "savepoint.json"
_PACK: Final = "savepoint.pack"


def export_savepoint(checkpoint: Checkpoint, path: Path | str, *, sync: bool = True) -> Path:
    """Write a checkpoint as a savepoint. The folder appears complete, or not at all.

    Args:
        checkpoint: What to write.
        path: The folder to make; must not exist, or be empty.
        sync: Whether it must survive a loss of power.

    Raises:
        CheckpointError: There is something at ``path``, or the checkpoint is damaged.
    """
    path = Path(path).expanduser().absolute()
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise CheckpointError(
            f"cannot write a savepoint to {str(path)!r}: it exists already; name a new folder",
            file=str(path),
        )
    saved = checkpoint.manifest.parts
    names = {blob.hash: name for name, blob in saved.items()}
    placed, size = lay_out({hash_: saved[name].length for hash_, name in names.items()}, _PACK)
    manifest = attrs.evolve(
        checkpoint.manifest,
        time=time.time(),
        pack_bytes=size,
        packs={_PACK: size},
        parts={name: placed[blob.hash] for name, blob in saved.items()},
    )
    blobs = (checkpoint.parts[name] for name in names.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(mode=0o700)
    try:
        write_file(temporary / _PACK, chain((MAGIC,), blobs), sync=sync)
        write_file(temporary / MANIFEST, (manifest.to_bytes(),), sync=sync)
        if sync:
            sync_folder(temporary)
        temporary.replace(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if sync:
        sync_folder(path.parent)
    return path


def open_savepoint(path: Path | str) -> Checkpoint:
    """A savepoint, checked.

    Raises:
        CheckpointError: There is none at ``path``, or it is damaged.
    """
    folder = Path(path).expanduser().absolute()
    file = folder / MANIFEST
    try:
        manifest, _ = read_manifest(file)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(_what_is_there(folder), file=str(folder)) from None
    except OSError as exc:
        raise CheckpointError(
            f"the savepoint's {str(file)!r} cannot be read: {exc.strerror}", file=str(file)
        ) from exc
    verify(folder, manifest)
    return Checkpoint(folder, manifest)


def _what_is_there(folder: Path) -> str:
    if not folder.exists():
        return f"there is no savepoint {str(folder)!r}: no such folder"
    if not folder.is_dir():
        return f"{str(folder)!r} is a file; a savepoint is a folder with a file {MANIFEST!r}"
    found = ", ".join(sorted(each.name for each in folder.iterdir())[:5]) or "nothing"
    return f"{str(folder)!r} is not a savepoint: it has no file {MANIFEST!r} (it holds {found})"
