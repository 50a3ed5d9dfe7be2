"""Every error of the tree survives a process boundary."""

from __future__ import annotations

import importlib
import inspect
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sage.common.errors import SageError

# Plausible values for the arguments of a constructor, by annotation; anything else gets a string.
SAMPLES: dict[str, Any] = {
    "int": 3,
    "float": 0.5,
    "bool": True,
    "str": "näme",
    "BaseException": ValueError("cause"),
    "Exception": ValueError("cause"),
    "Path": Path("config.yaml"),
    "tuple": ("a", "b"),
    "list": ["a", "b"],
    "Sequence": ["a", "b"],
    "Iterable": ["a", "b"],
    "set": {"a"},
    "Mapping": {"a": 1},
    "dict": {"a": 1},
    "type": int,
}


def tree(cls: type[SageError]) -> Iterator[type[SageError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from tree(child)


def example(cls: type[SageError]) -> SageError:
    required: dict[str, Any] = {}
    positional: list[Any] = []
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            continue
        annotation = str(getattr(parameter.annotation, "__name__", parameter.annotation))
        word = re.match(r"(?:\w+\.)*(\w+)", annotation)
        value = SAMPLES.get(word[1] if word else "", "näme")
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            required[name] = value
        elif parameter.kind in {
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        }:
            positional.append(value)
    return cls(*positional, **required)


def test_every_error_pickles(sources: list[Path], module_name: Callable[[Path], str]) -> None:
    for path in sources:
        if path.name != "__main__.py":
            importlib.import_module(module_name(path))
    classes = sorted(set(tree(SageError)), key=lambda cls: (cls.__module__, cls.__qualname__))
    classes = [cls for cls in classes if cls.__module__.startswith("sage.")]
    assert len(classes) > 10
    for cls in classes:
        error = example(cls)
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is cls
        assert str(copy) == str(error), cls
        assert repr(copy.data) == repr(error.data), cls
