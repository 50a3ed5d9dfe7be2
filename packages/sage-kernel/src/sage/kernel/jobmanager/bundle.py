"""Archives of code: packed by the client, checked by the daemon, unpacked by the job's process.

A plain tar (no compression: nothing grows when it is unpacked) of regular files, named by its
SHA-256. The daemon reads the list of its members and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from sage.common.errors import ConfigError, NotFoundError
from sage.common.paths import ensure_dir, within

GRAPH_FILE = "graph.pkl"
"""Name of a pickled graph in its archive."""

MAX_FILES = 5_000
MAX_BYTES = 64 * 1024 * 1024
_LONGEST_NAME = 512
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "build"})
_ENVIRONMENTS = ("pyvenv.cfg", "conda-meta")
"""What tells that a folder is an environment of Python."""


def digest_of(archive: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(archive).hexdigest()


def pack_files(files: Iterable[tuple[str, bytes]], max_bytes: int = MAX_BYTES) -> bytes:
    """An archive of files; equal files give equal bytes.

    Raises:
        ConfigError: It would be larger than ``max_bytes``.
    """
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in sorted(files):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o600
            archive.addfile(member, io.BytesIO(data))
            if out.tell() > max_bytes:
                raise _too_large(name, max_bytes)
    return out.getvalue()


def pack_program(
    program: Path, include: Iterable[str | Path] = (), max_bytes: int = MAX_BYTES
) -> tuple[bytes, str]:
    """An archive of a script, the Python files below its folder, and further files.

    Args:
        program: The script.
        include: Files or folders below the script's folder.
        max_bytes: Greatest size of the archive.

    Returns:
        The archive, and the name of the script in it.

    Raises:
        NotFoundError: A file is not there.
        ConfigError: A file is outside of the folder, or there is too much.
    """
    if not program.is_file():
        raise NotFoundError(f"{program}: no such file")
    program = program.resolve()
    folder = program.parent
    chosen = {program, *_sources(folder)}
    for each in include:
        path = within(folder, each)
        if not path.exists():
            raise NotFoundError(f"{each}: no such file or folder in {folder}")
        chosen |= {path} if path.is_file() else {p for p in path.rglob("*") if p.is_file()}
    if len(chosen) > MAX_FILES:
        raise ConfigError(
            f"{folder} has {len(chosen)} files to send, at most {MAX_FILES} are; put the script "
            "into a folder of its own"
        )
    total = 0
    for path in sorted(chosen):
        total += path.stat().st_size
        if total > max_bytes:
            raise _too_large(path.relative_to(folder).as_posix(), max_bytes)
    files = ((p.relative_to(folder).as_posix(), p.read_bytes()) for p in chosen)
    return pack_files(files, max_bytes), program.name


def _too_large(name: str, max_bytes: int) -> ConfigError:
    return ConfigError(
        f"the code is larger than {max_bytes:,} bytes (at {name!r}); put data outside of the "
        "script's folder and give its path"
    )


def _sources(folder: Path) -> set[Path]:
    found: set[Path] = set()
    for at, folders, names in os.walk(folder):
        here = Path(at)
        folders[:] = [
            name
            for name in folders
            if name not in _SKIPPED
            and not name.startswith(".")
            and not any((here / name / sign).exists() for sign in _ENVIRONMENTS)
        ]
        found |= {here / name for name in names if name.endswith(".py")}
        if len(found) > MAX_FILES:
            break
    return {path for path in found if not path.is_symlink()}


def check_archive(data: bytes, digest: str, max_bytes: int = MAX_BYTES) -> list[str]:
    """Names of the members of an archive that may be unpacked.

    Raises:
        ConfigError: The digest differs, it is no such archive, or a member is anything but a plain
            file with a name below the folder; names the member.
    """
    if digest_of(data) != digest:
        raise ConfigError(f"the archive's SHA-256 is {digest_of(data)}, not {digest} as announced")
    if len(data) > max_bytes:
        raise ConfigError(f"the archive has {len(data):,} bytes, at most {max_bytes:,} are taken")
    names: list[str] = []
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                _check_member(member)
                total += member.size
                names.append(member.name)
                if len(names) > MAX_FILES or total > max_bytes:
                    raise ConfigError(
                        f"the archive has more than {MAX_FILES} files or {max_bytes:,} bytes"
                    )
    except (tarfile.TarError, ValueError, EOFError) as exc:
        raise ConfigError(f"this is no tar archive: {exc}") from exc
    if len(set(names)) < len(names):
        raise ConfigError("the archive has a file twice")
    return names


def _check_member(member: tarfile.TarInfo) -> None:
    name = member.name
    if not member.isreg() or member.issparse():
        raise ConfigError(f"the archive's member {name!r} is no regular file")
    path = PurePosixPath(name)
    bad = (
        not name
        or len(name) > _LONGEST_NAME
        or path.is_absolute()
        or ".." in path.parts
        or str(path) != name
        or any(c in name for c in "\\:\0")
        or not name.isprintable()
    )
    if bad:
        raise ConfigError(f"the archive's member {name!r} has a name that is not allowed")


def unpack(path: Path, digest: str, folder: Path) -> None:
    """Unpack an archive into ``folder``, in one step; nothing happens if it is there.

    Raises:
        ConfigError: See ``check_archive``.
        NotFoundError: The archive is not there.
    """
    if folder.is_dir():
        return
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"the archive {digest} is not there any more") from None
    check_archive(data, digest, max(len(data), MAX_BYTES))
    temporary = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    ensure_dir(temporary)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in archive:
            target = within(temporary, member.name)
            ensure_dir(target.parent)
            source = archive.extractfile(member)
            assert source is not None, "a regular file"
            target.write_bytes(source.read())
    temporary.replace(folder)
