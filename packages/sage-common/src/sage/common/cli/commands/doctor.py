"""Check this installation: versions, extras, plugins, folders, servers."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from sage.common import license as licensing
from sage.common import paths
from sage.common.cli.output import (
    ExitCode,
    JsonOption,
    OutputFormat,
    OutputOption,
    emit,
    say,
)
from sage.common.errors import PluginError, SageError
from sage.common.plugins import GROUPS, PluginEntry, Registry, installed, load_entry
from sage.common.plugins.scan import BUILT_IN
from sage.common.plugins.summaries import module_file

_EXTRA = re.compile(r"(?P<package>[\w.-]+).*;.*\bextra\s*==\s*[\"'](?P<extra>[\w-]+)[\"']")


class Check(NamedTuple):
    """One line of the report. ``status``: ``ok``, ``absent`` (optional) or ``problem``."""

    check: str
    status: str
    detail: str


def command(
    load: Annotated[
        bool, typer.Option("--load", help="Also import every plugin (slower).")
    ] = False,
    output: OutputOption = OutputFormat.TABLE,
    as_json: JsonOption = False,
) -> int:
    """Check this installation: versions, extras, plugins, folders, servers."""
    checks = [*installation(load=load), *_registered()]
    emit([check._asdict() for check in checks], OutputFormat.JSON if as_json else output)
    problems = sum(check.status == "problem" for check in checks)
    say(f"{problems} problem{'s' * (problems != 1)} found")
    return ExitCode.PROBLEMS if problems else ExitCode.OK


def installation(*, load: bool = False) -> Iterator[Check]:
    """Every check of the installation; ``load``: import each plugin, too."""
    yield from _python()
    yield from _versions()
    yield from _namespace()
    yield from _extras()
    yield from _plugins(load)
    yield from _folders()


def _registered() -> Iterator[Check]:
    """What other distributions check: entry points of ``sage.checks`` that give ``Check`` lines."""
    for name in Registry("sage.checks").names():
        try:
            yield from Registry("sage.checks").get(name)()
        except SageError as exc:
            yield Check(name, "problem", str(exc))


def _python() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Check("python", "ok" if good else "problem", f"{version} ({sys.executable})")
    yield Check("cores", "ok", str(os.cpu_count()))


def _versions() -> Iterator[Check]:
    found: dict[str, str] = {}
    for name in sorted(BUILT_IN):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    expected = found.get("isage-common")
    for name, version in found.items():
        trouble = "" if version == expected else f"but isage-common is {expected}: reinstall"
        trouble = trouble or _stranger(name)
        yield Check(
            name, "problem" if trouble else "ok", ", ".join(filter(None, (version, trouble)))
        )


def _stranger(name: str) -> str:
    """What is wrong with where a distribution came from; the public names are not ours."""
    origin = metadata.distribution(name).read_text("direct_url.json")
    if origin is None:
        return "from an index, where this name is another project's: reinstall from the checkout"
    return ""


def _namespace() -> Iterator[Check]:
    file = getattr(importlib.import_module("sage"), "__file__", None)
    if file:
        detail = f"{file} hides the parts of SAGE: use an environment for SAGE alone"
        yield Check("namespace", "problem", detail)


def _extras() -> Iterator[Check]:
    try:
        requirements = metadata.requires("isage") or []
    except metadata.PackageNotFoundError:
        return
    packages: dict[str, list[str]] = {}
    for requirement in requirements:
        match = _EXTRA.match(requirement)
        if match and not match["package"].startswith("isage"):
            packages.setdefault(match["extra"], []).append(match["package"])
    for extra, names in sorted(packages.items()):
        missing = [name for name in names if not _is_installed(name)]
        detail = f"missing: {', '.join(missing)}" if missing else ", ".join(names)
        yield Check(f"extra {extra}", "absent" if missing else "ok", detail)


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _plugins(load: bool) -> Iterator[Check]:
    found = installed()
    for problem in found.problems:
        yield Check("plugin", "problem", problem.message)
    count = 0
    for group in GROUPS:
        for entry in sorted(found.entries[group].values()):
            count += 1
            trouble = _trouble(entry, load)
            if trouble:
                yield Check("plugin", "problem", trouble)
    yield Check("plugins", "ok", f"{count} registered")


def _trouble(entry: PluginEntry, load: bool) -> str:
    if load:
        try:
            load_entry(entry)
        except PluginError as exc:
            return str(exc)
        return ""
    if module_file(entry.module) is not None:
        return ""
    try:  # an import hook (some editable installs) may know what the path does not show
        known = importlib.util.find_spec(entry.module) is not None
    except Exception:  # noqa: BLE001 - it runs the plugin's packages, which may do anything
        known = False
    if known:
        return ""
    return (
        f"{entry.name!r} ({entry.group}) of the distribution {entry.distribution!r}: "
        f"there is no module {entry.module!r}"
    )


def _folders() -> Iterator[Check]:
    for name, folder in (
        ("config", paths.config_dir()),
        ("data", paths.data_dir()),
        ("state", paths.state_dir()),
    ):
        writable = os.access(_existing(folder), os.W_OK | os.X_OK)
        detail = str(folder) if writable else f"{folder} cannot be written; set SAGE_HOME"
        yield Check(f"folder {name}", "ok" if writable else "problem", detail)
    exposed = licensing.exposed()
    if exposed:
        yield Check("license key", "problem", exposed)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
