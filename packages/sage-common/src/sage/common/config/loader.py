"""``load_config``: one mapping from defaults, files, environment and arguments.

Predecessor: ``sage.common.config.interpolation``; successor: ``sage.common.config.structure``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sage.common.config.interpolation import interpolate
from sage.common.config.mapping import ConfigDict, format_path
from sage.common.config.reading import Include, PlainText, read_file, read_scalar, read_value
from sage.common.errors import ConfigError
from sage.common.paths import within
from sage.common.secrets import Secret, is_reference

_INCLUDE_KEY = "include"
_DEEPEST = 100
_MOST_VALUES = 1_000_000


def load_config(
    path: str | os.PathLike[str],
    *,
    defaults: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    env_prefix: str | None = "SAGE_",
    environ: Mapping[str, str] | None = None,
) -> ConfigDict:
    """Read a YAML, TOML or JSON file into a dictionary.

    Later wins: ``defaults`` < included files < the file < environment < ``overrides``. Mappings are
    merged key by key, everything else is replaced.

    In the file, ``${NAME}`` and ``${NAME:-default}`` are replaced by environment variables (an
    unquoted YAML scalar is typed afterwards: ``port: ${PORT:-8080}`` is a number), a value
    ``env:NAME`` or ``file:path`` becomes a ``Secret`` that is read when it is first used, the
    top-level key ``include`` (a path or a list of paths) merges other files beneath this one, and
    ``!include path`` puts another file in place of a value. Included paths are relative to the file
    that names them and stay inside the folder of the first file.

    ``SAGE_RETRIEVER__TOP_K=7`` sets ``retriever.top_k``: only variables with two underscores after
    the prefix count, keys are matched without regard to case, and the text is typed as YAML would
    (unless the file has text there: then it stays text).

    Args:
        path: The file.
        defaults: Values used where nothing else says anything.
        overrides: Values that win; nested, or by dotted key (``{"retriever.top_k": 7}``).
        env_prefix: Prefix of the environment variables; ``None`` or ``""`` turns them off.
        environ: The environment; default: the process's.

    Returns:
        A ``dict`` (nested sections too) that remembers its origins for error messages.

    Raises:
        ConfigError: Names the file, and line and column or the key: missing or malformed file,
            key given twice, variable not set, include that is missing, circular or outside.
    """
    return load_layers(
        [path], defaults=defaults, overrides=overrides, env_prefix=env_prefix, environ=environ
    )


def load_layers(
    paths: Sequence[str | os.PathLike[str]],
    *,
    defaults: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    env_prefix: str | None = "SAGE_",
    environ: Mapping[str, str] | None = None,
) -> ConfigDict:
    """Like ``load_config`` for several files (or none), later ones over earlier ones."""
    environment = os.environ if environ is None else environ
    last = os.fspath(paths[-1]) if paths else ""
    origins: dict[tuple[Any, ...], str] = {}
    result = ConfigDict(source=last, origins=origins)
    if defaults:
        _merge(result, _copy(defaults), "defaults", origins)
    for path in paths:
        for source, content in _Reader(Path(path), os.fspath(path), environment).layers():
            _merge(result, content, None if source == last else source, origins)
    if env_prefix:
        _apply_environment(result, environment, env_prefix, origins)
    for key, value in (overrides or {}).items():
        _set(result, key.split("."), _copy(value), "arguments", origins)
    _label(result, (), last, origins, _Budget(last))
    return result


class _Reader:
    """Reads the first file and everything that it includes."""

    def __init__(self, path: Path, name: str, environ: Mapping[str, str]) -> None:
        self._path = path
        self._name = name
        self._environ = environ
        self._root = path.parent.resolve()

    def layers(self) -> list[tuple[str, dict[str, Any]]]:
        """``(file name, content)``, the included files first."""
        return self._layers(self._path, self._name, ())

    def _layers(
        self, path: Path, name: str, stack: tuple[Path, ...]
    ) -> list[tuple[str, dict[str, Any]]]:
        content, stack = self._read(path, name, stack)
        if content is None:
            content = {}
        if not isinstance(content, dict):
            raise ConfigError(
                f"{name}: must hold a mapping (key: value) at the top, got "
                f"{type(content).__name__}",
                file=name,
            )
        included = content.pop(_INCLUDE_KEY, None) or []
        layers: list[tuple[str, dict[str, Any]]] = []
        for entry in [included] if isinstance(included, str | Include) else included:
            target = entry.path if isinstance(entry, Include) else entry
            if not isinstance(target, str):
                raise ConfigError(f"{name}: include: must be a path or a list of paths", file=name)
            where = f"{name}: {_INCLUDE_KEY}"
            layers += self._layers(*self._locate(path, target, where), stack)
        layers.append((name, self._resolve(content, path, name, (), stack, {})))
        return layers

    def _read(self, path: Path, name: str, stack: tuple[Path, ...]) -> tuple[Any, tuple[Path, ...]]:
        real = path.resolve()
        if real in stack:
            chain = " → ".join(p.name for p in (*stack[stack.index(real) :], real))
            raise ConfigError(f"{name}: the includes form a circle: {chain}", file=name)
        return read_file(path, name), (*stack, real)

    def _locate(self, path: Path, target: str, where: str) -> tuple[Path, str]:
        target = interpolate(target, self._environ, where)
        if Path(target).is_absolute():
            raise ConfigError(f"{where}: the path {target!r} must be relative to the file")
        try:
            inside = within(self._root, path.parent.resolve() / target)
        except ConfigError as exc:
            raise ConfigError(f"{where}: {exc}") from exc
        if not inside.is_file():
            raise ConfigError(f"{where}: no such file: {target!r} (looked for {str(inside)!r})")
        return inside, os.path.relpath(inside, self._root)

    def _resolve(
        self,
        value: Any,
        path: Path,
        name: str,
        keys: tuple[Any, ...],
        stack: tuple[Path, ...],
        seen: dict[int, Any],
    ) -> Any:
        """Interpolate, read ``!include`` and make secrets. ``seen`` keeps YAML aliases shared."""
        if isinstance(value, str):
            return self._text(value, path, name, keys)
        if isinstance(value, Include):
            where = f"{name}: {format_path(keys)}"
            inner, inner_name = self._locate(path, value.path, where)
            content, inner_stack = self._read(inner, inner_name, stack)
            return self._resolve(content, inner, inner_name, keys, inner_stack, {})
        if not isinstance(value, dict | list):
            return value
        if id(value) in seen:
            return seen[id(value)]
        if len(keys) > _DEEPEST:
            raise ConfigError(f"{name}: {format_path(keys[:3])}...: the nesting is too deep")
        if isinstance(value, dict):
            mapping: dict[Any, Any] = {}
            seen[id(value)] = mapping
            for key, item in value.items():
                mapping[key] = self._resolve(item, path, name, (*keys, key), stack, seen)
            return mapping
        items: list[Any] = []
        seen[id(value)] = items
        items += (
            self._resolve(item, path, name, (*keys, i), stack, seen) for i, item in enumerate(value)
        )
        return items

    def _text(self, text: str, path: Path, name: str, keys: tuple[Any, ...]) -> Any:
        where = f"{name}: {format_path(keys)}"
        if "${" in text:
            plain = isinstance(text, PlainText)
            text = interpolate(text, self._environ, where)
            if plain and not is_reference(text):
                return read_scalar(text)
        if is_reference(text):
            return Secret(reference=text, base=path.parent.resolve(), origin=where)
        return text


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _merge(
    target: dict[str, Any],
    layer: Mapping[str, Any],
    source: str | None,
    origins: dict[tuple[Any, ...], str],
    path: tuple[Any, ...] = (),
) -> None:
    for key, value in layer.items():
        here = (*path, key)
        old = target.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            # Copied, because YAML aliases may share it with another section.
            target[key] = dict(old)
            _merge(target[key], value, source, origins, here)
        else:
            target[key] = value
            _mark(origins, here, source)


def _mark(origins: dict[tuple[Any, ...], str], path: tuple[Any, ...], source: str | None) -> None:
    for known in [p for p in origins if p[: len(path)] == path]:
        del origins[known]
    if source is not None:
        origins[path] = source
    elif any(path[:end] in origins for end in range(1, len(path))):
        # A value of the file itself inside a section that another source opened.
        origins[path] = ""


def _apply_environment(
    result: dict[str, Any],
    environ: Mapping[str, str],
    prefix: str,
    origins: dict[tuple[Any, ...], str],
) -> None:
    for variable in sorted(environ):
        if not variable.startswith(prefix) or "__" not in variable[len(prefix) :]:
            continue
        keys = variable[len(prefix) :].split("__")
        if not all(keys):
            continue
        text = environ[variable]
        old: Any = result
        for i, key in enumerate(keys):
            names = {k.lower(): k for k in old if isinstance(k, str)} if old else {}
            keys[i] = names.get(key.lower(), key.lower())
            old = old.get(keys[i]) if isinstance(old, dict) else None
            if not isinstance(old, dict):
                keys[i + 1 :] = [k.lower() for k in keys[i + 1 :]]
                break
        source = f"environment variable {variable}"
        value: Any = text
        if is_reference(text):
            value = Secret(reference=text, origin=source)
        elif isinstance(old, Secret):
            value = Secret(text)
        elif not isinstance(old, str):
            value = read_value(text)
        _set(result, keys, value, source, origins)


def _set(
    result: dict[str, Any],
    keys: list[str],
    value: Any,
    source: str,
    origins: dict[tuple[Any, ...], str],
) -> None:
    layer: Any = value
    for key in reversed(keys):
        layer = {key: layer}
    _merge(result, layer, source, origins)


class _Budget:
    """Bounds what a small file with YAML aliases can grow into."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._left = _MOST_VALUES

    def spend(self, path: tuple[Any, ...]) -> None:
        self._left -= 1
        if self._left < 0 or len(path) > _DEEPEST:
            raise ConfigError(
                f"{self._name}: {format_path(path[:3])}: the nesting is too deep or too large "
                "(does an alias hold itself?)",
                file=self._name,
            )


def _label(
    value: Any,
    path: tuple[Any, ...],
    source: str,
    origins: dict[tuple[Any, ...], str],
    budget: _Budget,
) -> Any:
    """Turn the sections into ``ConfigDict`` so that each knows its path."""
    budget.spend(path)
    if isinstance(value, dict):
        items = {k: _label(v, (*path, k), source, origins, budget) for k, v in value.items()}
        if isinstance(value, ConfigDict):
            value.clear()
            value.update(items)
            return value
        return ConfigDict(items, source=source, path=path, origins=origins)
    if isinstance(value, list):
        return [_label(v, (*path, i), source, origins, budget) for i, v in enumerate(value)]
    return value
