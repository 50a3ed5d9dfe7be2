"""A pipeline as it is sent: as data where every step has a name, else its functions by value.

In the client's process. Modules of the user's project (what is below the script's folder or the
current one and not installed) travel by value like the script itself; everything else is imported
by the job's process.

Predecessor: ``sage.kernel.jobmanager.client``; successor: ``sage.kernel.jobmanager.bundle``.
"""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from sage.common.errors import GraphError
from sage.kernel.graph.model import StreamGraph
from sage.kernel.graph.spec import read_spec, to_spec
from sage.kernel.jobmanager.bundle import GRAPH_FILE, pack_files
from sage.kernel.runtime.process.shipping import importable


@attrs.frozen(kw_only=True)
class Packed:
    """A pipeline to be sent: ``spec`` with the modules it may name, or an ``archive``."""

    spec: Mapping[str, Any] | None = None
    allow: tuple[str, ...] = ()
    archive: bytes | None = None


def read_pipeline_file(spec: Mapping[str, Any] | str | Path) -> dict[str, Any]:
    """The mapping of a pipeline file, or a copy of the one given.

    Raises:
        GraphError: It cannot be read, or is no mapping.
    """
    return dict(spec) if isinstance(spec, Mapping) else read_spec(spec)


def pack_graph(graph: StreamGraph) -> Packed:
    """Pack a pipeline.

    Raises:
        GraphError: A function holds something that cannot be sent.
    """
    try:
        spec = to_spec(graph)
    except GraphError:
        return Packed(archive=_by_value(graph))
    modules = _modules(spec)
    search = _installed_path()
    if all(name in sys.modules and importable(name, search) for name in modules):
        return Packed(spec=spec, allow=tuple(sorted(modules)))
    return Packed(archive=_by_value(graph))


def _by_value(graph: StreamGraph) -> bytes:
    import cloudpickle  # noqa: PLC0415 - only graphs by value need it

    with _project_by_value(cloudpickle):
        try:
            data = cloudpickle.dumps(graph, 5)
        except Exception as exc:
            raise GraphError(
                f"pipeline {graph.name!r} cannot be sent to a JobManager: {type(exc).__name__}: "
                f"{exc}; give classes and their configuration instead of instances, open files, "
                "locks and connections in open(ctx), and write keys as references (env:NAME)"
            ) from exc
    return pack_files([(GRAPH_FILE, data)])


@contextlib.contextmanager
def _project_by_value(cloudpickle: Any) -> Iterator[None]:
    search = _installed_path()
    known = cloudpickle.list_registry_pickle_by_value()
    chosen = [
        module
        for name, module in list(sys.modules.items())
        if name != "__main__"
        and name not in known
        and not _of_python(module)
        and not importable(name, search)
    ]
    for module in chosen:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in chosen:
            cloudpickle.unregister_pickle_by_value(module)


def _of_python(module: Any) -> bool:
    """Whether a module belongs to Python or to what is installed (not as a checkout)."""
    file = getattr(module, "__file__", None)
    paths = sysconfig.get_paths()
    homes = tuple(f"{paths[key]}{os.sep}" for key in ("stdlib", "platstdlib", "purelib", "platlib"))
    return not isinstance(file, str) or file.startswith(homes)


def _installed_path() -> list[str]:
    """``sys.path`` without the folders of the user's program."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    own = {Path.cwd().resolve()} | ({Path(main).resolve().parent} if main else set())
    return [each for each in sys.path if each and Path(each).resolve() not in own]


def _modules(value: Any) -> set[str]:
    """Modules of the ``module:name`` references in a spec."""
    found: set[str] = set()
    if isinstance(value, Mapping):
        name = value.get("op")
        if isinstance(name, str) and ":" in name and not name.startswith("builtin:"):
            found.add(name.partition(":")[0])
        for each in value.values():
            found |= _modules(each)
    elif isinstance(value, list):
        for each in value:
            found |= _modules(each)
    return found
