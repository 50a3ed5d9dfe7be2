"""How a function is named in a spec file, and how a name becomes a function again.

A name is a registered operator, ``module:Class`` (or ``module:function``) of an allowed module, or
one of the engine's own (``builtin:print``). Loading imports nothing else and calls nothing.

Predecessor: ``sage.kernel.graph.spec``; successor: ``sage.kernel.graph.steps``.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from sage.common.errors import GraphError, PluginError
from sage.kernel.graph import loops, sinks
from sage.kernel.graph.model import FunctionSpec
from sage.kernel.graph.splits import make_splitter, predicates
from sage.kernel.graph.steps import find_registered, is_coroutine_function, make_spec, pair

BUILTINS: dict[str, Any] = {
    "builtin:pair": pair,
    "builtin:collapse": loops.collapse,
    "builtin:count": loops.count,
    "builtin:discard": sinks.DiscardSink,
    "builtin:enter": loops.enter,
    "builtin:leave": loops.leave,
    "builtin:print": sinks.PrintSink,
}
"""Functions of the engine that a spec may always name."""

LOOP_PARTS = frozenset(
    f"builtin:{part}" for part in ["collapse", "count", "enter", "leave", "until"]
)
"""Those that work on the wrapped items of a loop themselves."""

_TYPES = {t.__name__: t for t in (bool, int, float, str, bytes, list, tuple, dict, set, object)}


class SpecError(GraphError):
    """A spec is wrong; ``file`` and ``key`` say where."""


def write_operation(spec: FunctionSpec, step: str) -> dict[str, Any]:
    """``{"op": ..., "config" | "args": ..., "kwargs": ...}`` of a function.

    Raises:
        GraphError: The function has no name that another process can find.
    """
    spec = loops.unwrapped(spec)
    parts = predicates(spec)
    if parts is not None:
        return {"op": "builtin:split", "predicates": [write_operation(p, step) for p in parts]}
    if isinstance(spec.target, loops.Decide):
        until = write_operation(FunctionSpec(spec.target.until), step)
        return {
            "op": "builtin:until",
            "until": until,
            "kwargs": {"rounds": spec.target.max_iterations},
        }
    if isinstance(spec.target, (list, tuple, range)) and not spec.is_class:
        return {"op": "builtin:collection", "items": plain(list(spec.target), step, "items")}
    result: dict[str, Any] = {"op": spec.registered or reference(spec.target, step)}
    if len(spec.args) == 1:
        if spec.args[0] is not None:
            result["config"] = plain(spec.args[0], step, "config")
    elif spec.args:
        result["args"] = plain(list(spec.args), step, "args")
    if spec.kwargs:
        result["kwargs"] = plain(spec.kwargs, step, "kwargs")
    return result


def reference(target: Any, step: str) -> str:
    """Name under which ``target`` can be found again.

    Raises:
        GraphError: It is a lambda, a local function, an instance, or defined in a script.
    """
    for name, own in BUILTINS.items():
        if target is own:
            return name
    module, qualname = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    if not isinstance(target, (type, types.FunctionType)) or module is None or qualname is None:
        raise _cannot(step, f"an instance ({type(target).__name__})", "give its class and config")
    if qualname == "<lambda>":
        raise _cannot(step, "a lambda", "write it as a function at the top level of a module")
    if "<" in qualname:
        raise _cannot(step, f"the local function {qualname!r}", "move it to the top level")
    if module == "__main__":
        raise _cannot(
            step, f"{qualname!r} of the running script", "move it to a module that can be imported"
        )
    return registered_name(target) or f"{module}:{qualname}"


def registered_name(target: Any) -> str | None:
    """The name under which a class is registered, if it is."""
    from sage.common.plugins import operators  # noqa: PLC0415 - reads distribution metadata

    for entry in operators():
        _, _, attribute = entry.target.partition(":")
        if attribute == target.__qualname__:
            try:
                if find_registered(entry.name) is target:
                    return entry.name
            except PluginError:
                continue
    return None


def read_operation(
    raw: Mapping[str, Any], kind: str, at: Any, allow: Iterable[str]
) -> FunctionSpec:
    """The function that ``write_operation`` wrote; ``at`` makes errors that name file and key.

    Raises:
        SpecError: The name is unknown or not allowed, or its settings have the wrong form.
    """
    at.known(raw, {"op", "config", "args", "kwargs", "items", "until", "predicates"})
    name = raw.get("op")
    if not isinstance(name, str) or not name:
        raise at.error("op", f"must be the name of an operator, got {name!r}")
    if name == "builtin:split":
        parts = at.sequence(raw, "predicates")
        specs = [
            read_operation(
                at.mapping_in("predicates", i, p), "filter", at.at("predicates", i), allow
            )
            for i, p in enumerate(parts)
        ]
        return make_splitter(specs)
    if name == "builtin:until":
        until = read_operation(at.mapping(raw, "until"), "filter", at.at("until"), allow).target
        rounds = at.mapping(raw, "kwargs").get("rounds")
        if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
            raise at.error("kwargs.rounds", f"must be an int >= 1, got {rounds!r}")
        decide = loops.DecideAsync if is_coroutine_function(until) else loops.Decide
        return FunctionSpec(decide(until, rounds))
    if name == "builtin:collection":
        return FunctionSpec(list(at.sequence(raw, "items")))
    target, registered = resolve(name, at, allow)
    if "args" in raw and "config" in raw:
        raise at.error("args", "cannot be given together with config")
    args = tuple(at.sequence(raw, "args")) if "args" in raw else ()
    if "config" in raw:
        args = (raw["config"],)
    kwargs = dict(at.mapping(raw, "kwargs")) if "kwargs" in raw else {}
    try:
        spec = make_spec(target, args, kwargs, kind)
    except GraphError as exc:
        raise at.error("op", str(exc)) from exc
    spec.registered = registered
    return spec


def resolve(name: str, at: Any, allow: Iterable[str]) -> tuple[Any, str | None]:
    """The class or function called ``name``, and its registered name if it has one."""
    if name in BUILTINS:
        return BUILTINS[name], None
    if name.startswith("builtin:"):
        raise at.error("op", f"{name!r} is none of the engine's own ({', '.join(BUILTINS)})")
    if ":" not in name:
        try:
            return find_registered(name), name
        except PluginError as exc:
            raise at.error("op", str(exc)) from exc
    module, _, attribute = name.partition(":")
    allowed = list(allow)
    if not module_allowed(module, allowed):
        raise at.error(
            "op",
            f"{name!r} is not allowed: only registered operators and modules of the allowlist are "
            f"loaded (allowed: {', '.join(allowed) or 'none'}); pass allow=[{module!r}] or "
            f"--allow {module}",
        )
    if not attribute.isidentifier():
        raise at.error("op", f"{name!r} must be module:Class or module:function")
    from importlib import import_module  # noqa: PLC0415 - only here code of others is imported

    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as exc:
        raise at.error("op", f"cannot import {name!r}: {exc}") from exc
    home = getattr(found, "__module__", "")
    if not isinstance(found, (type, types.FunctionType)):
        raise at.error("op", f"{name!r} is neither a class nor a function")
    if not module_allowed(home, allowed):
        # An allowed module must not lend what it merely imported, such as subprocess.Popen.
        raise at.error("op", f"{name!r} is defined in {home!r}, which is not allowed")
    return found, None


def write_type(kind: Any, step: str) -> str:
    """Name of an explicit output type."""
    if kind in _TYPES.values():
        return str(kind.__name__)
    if isinstance(kind, type):
        return reference(kind, step)
    raise _cannot(step, f"the type {kind!r}", "use a class as type=...")


def read_type(name: Any, at: Any, allow: Iterable[str]) -> Any:
    """The type that ``write_type`` wrote."""
    if isinstance(name, str) and name in _TYPES:
        return _TYPES[name]
    if not isinstance(name, str) or ":" not in name:
        raise at.error("type", f"must be a built-in type or module:Class, got {name!r}")
    return resolve(name, at, allow)[0]


def plain(value: Any, step: str, key: str) -> Any:
    """A copy of ``value`` made of what JSON has.

    Raises:
        GraphError: Something in it cannot be written; names step and key.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value
    if isinstance(value, Mapping):
        for each in value:
            if not isinstance(each, str):
                raise _cannot(step, f"the key {each!r} in {key}", "use strings as keys")
        return {k: plain(v, step, f"{key}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each, step, f"{key}[{i}]") for i, each in enumerate(value)]
    if hasattr(value, "__fspath__"):
        return str(value)
    hint = "use plain values: strings, numbers, booleans, lists and mappings"
    if type(value).__name__ == "Secret":
        hint = "write secrets as references: 'env:NAME' or 'file:PATH'"
    raise _cannot(step, f"a {type(value).__name__} in {key}", hint)


def _cannot(step: str, what: str, hint: str) -> GraphError:
    return GraphError(
        f"step {step!r} cannot be written to a spec: it is or has {what}; {hint}", step=step
    )


def module_allowed(module: str, allowed: Iterable[str]) -> bool:
    """Whether a module is among patterns such as ``mypkg.*``, which ``mypkg`` itself fits too."""
    return any(
        fnmatchcase(module, pattern)
        or (pattern.endswith(".*") and module == pattern.removesuffix(".*"))
        for pattern in allowed
    )
