"""What is compared: pipelines by name, from the command line or a file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from sage.apps.evaluation import builtin
from sage.apps.evaluation.builtin import OWN, BuiltinOptions
from sage.apps.evaluation.pipelines import Target
from sage.common.config import load_config, structure_config
from sage.common.errors import ConfigError

DEFAULT = ("retrieval-bm25", "retrieval-dense", "retrieval-hybrid")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@attrs.frozen(kw_only=True)
class Variant:
    """One pipeline with its settings.

    Attributes:
        pipeline: A pipeline file, a program with ``build(env, source)``, or a built-in.
        set: Keys of its steps: ``{"retriever.top_k": 3}``.
        config: File with configuration of the steps.
        source, sink: Ids of the steps to replace, where there are several.
        top_k, embedder, model, max_chars: Options of built-in pipelines.
    """

    pipeline: str
    set: dict[str, Any] = attrs.field(factory=dict)
    config: str | None = None
    source: str | None = None
    sink: str | None = None
    top_k: int | None = None
    embedder: str | None = None
    model: str | None = None
    max_chars: int | None = None


@attrs.frozen(kw_only=True)
class VariantFile:
    """A file of variants.

    Attributes:
        dataset: The questions; relative to the file.
        variants: By name; the first is the baseline.
        metrics: As of ``sage eval run``.
    """

    variants: dict[str, Variant] = attrs.field(validator=attrs.validators.min_len(1))
    dataset: str | None = None
    metrics: tuple[str, ...] = ()


def read_file(path: Path) -> VariantFile:
    """Read a file of variants; paths in it are relative to it.

    Raises:
        ConfigError: Names file and key.
    """
    raw = load_config(path, env_prefix=None)
    found = structure_config(raw, VariantFile, file=str(path))
    base = path.parent

    def placed(name: str) -> str:
        return name if name in builtin.NAMES else str(base / name)

    return attrs.evolve(
        found,
        dataset=None if found.dataset is None else str(base / found.dataset),
        variants={
            name: attrs.evolve(
                each,
                pipeline=placed(each.pipeline),
                config=None if each.config is None else str(base / each.config),
            )
            for name, each in found.variants.items()
        },
    )


def read_variant(text: str) -> tuple[str, Variant]:
    """``NAME=PIPELINE`` or ``PIPELINE``, each optionally followed by ``,KEY=VALUE``, several.

    A key with a dot is one of a step of a pipeline file; one without, an option of a built-in.

    Raises:
        ConfigError: It has another form.
    """
    head, *pairs = text.split(",")
    name, sign, pipeline = head.partition("=")
    settings: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or not ("." in key or key in OWN):
            raise ConfigError(
                f"--variant {text!r}: after the pipeline come STEP.KEY=VALUE, or for built-in "
                f"pipelines {', '.join(OWN)}, got {pair!r}"
            )
        if "." in key:
            settings[key] = value
        else:
            options[key] = (
                int(value) if key in ("top_k", "max_chars") and value.isdigit() else value
            )
    variant = structure_config(
        {"pipeline": pipeline if sign else name, "set": settings, **options},
        Variant,
        name=f"--variant {text!r}",
    )
    if sign:
        return name, variant
    return ",".join([Path(variant.pipeline).stem, *pairs]), variant


def targets(
    variants: Mapping[str, Variant], *, allow: Sequence[str] = (), concurrency: int = 16
) -> dict[str, Target]:
    """What is run, by name.

    Raises:
        ConfigError, NotFoundError: A variant has no usable name, or there is no such pipeline.
    """
    found = {}
    for name, each in variants.items():
        # The name is a folder.
        safe = re.sub(r"[^\w.-]+", "-", name)
        if not _NAME.fullmatch(safe) or safe in found:
            raise ConfigError(f"variant {name!r}: give it a name of its own, of letters and digits")
        options = BuiltinOptions(
            top_k=each.top_k,
            embedder=each.embedder or "default",
            model=each.model,
            max_chars=each.max_chars,
            concurrency=concurrency,
        )
        target = Target(
            pipeline=each.pipeline,
            config=None if each.config is None else Path(each.config),
            settings=tuple(f"{key}={value}" for key, value in each.set.items()),
            allow=tuple(allow),
            source=each.source,
            sink=each.sink,
            options=options,
        )
        target.check()
        found[safe] = target
    return found
