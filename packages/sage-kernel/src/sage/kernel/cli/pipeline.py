"""What the commands share: reading pipeline files with overrides, and running programs.

A pipeline file is data. ``--config FILE`` and ``--set KEY=VALUE`` change the configuration of its
steps: ``--set retriever.top_k=3`` sets ``top_k`` of the step with the id ``retriever``, ``--set
config.fusion=false`` a setting of the engine. In the file of ``--config`` the top-level keys are
the same: step ids, and ``config``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sage.common.cli.output import warn
from sage.common.errors import ConfigError, NotFoundError

SUFFIXES = (".yaml", ".yml", ".json")

Target = Annotated[
    Path, typer.Argument(metavar="FILE", help="PIPELINE.yaml or app.py", show_default=False)
]
Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="ARGUMENT", help="Arguments of app.py", show_default=False),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="STEP.KEY=VALUE or config.KEY=VALUE; may be repeated."),
]
Config = Annotated[
    Path | None, typer.Option("--config", help="File with configuration of the steps.")
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        help="Module, installed or in this folder, that the file may name; e.g. 'mypkg.*'.",
    ),
]


def is_program(target: Path) -> bool:
    """Whether ``target`` is a Python program (else it is a pipeline file).

    Raises:
        NotFoundError: There is no such file.
        ConfigError: It is neither.
    """
    if not target.is_file():
        raise NotFoundError(f"{target}: no such file")
    if target.suffix == ".py":
        return True
    if target.suffix in SUFFIXES:
        return False
    raise ConfigError(
        f"{target}: expected a pipeline file ({', '.join(SUFFIXES)}) or a Python program (.py)"
    )


def read_pipeline(
    target: Path, *, config: Path | None, settings: Sequence[str], allow: Sequence[str]
) -> Any:
    """The environment of a pipeline file, with its overrides.

    Raises:
        ConfigError: A ``--set`` or the file of ``--config`` is wrong.
        GraphError: The pipeline file is wrong; names file and key.
    """
    from sage.api.local_environment import LocalEnvironment  # noqa: PLC0415

    if allow and "" not in sys.path:
        sys.path.append(str(Path.cwd()))  # the modules that --allow names, as for a job
    spec = read_spec_with(target, config=config, settings=settings)
    return LocalEnvironment.from_spec(spec, allow=allow, name=str(target))


def read_spec_with(target: Path, *, config: Path | None, settings: Sequence[str]) -> dict[str, Any]:
    """The content of a pipeline file, with its overrides. Raises as ``read_pipeline``."""
    from sage.kernel.graph.spec import read_spec  # noqa: PLC0415

    spec = read_spec(target)
    for values, where in overrides(config, settings):
        apply(spec, values, where)
    return spec


def overrides(config: Path | None, settings: Sequence[str]) -> list[tuple[Mapping[str, Any], str]]:
    """Mappings to lay over the spec, in order, with where they come from."""
    from sage.common.config import load_config  # noqa: PLC0415

    found: list[tuple[Mapping[str, Any], str]] = []
    if config is not None:
        found.append((load_config(config, env_prefix=None), str(config)))
    return [*found, *((parse_setting(text), f"--set {text}") for text in settings)]


def parse_setting(text: str) -> dict[str, Any]:
    """``a.b=1`` as ``{"a": {"b": 1}}``; the value is typed as YAML would.

    Raises:
        ConfigError: It has not that form.
    """
    path, result = split_setting(text)
    for key in reversed(path.split(".")):
        result = {key: result}
    made: dict[str, Any] = result
    return made


def split_setting(text: str, *, shortest: int = 2) -> tuple[str, Any]:
    """``a.b=1`` as ``("a.b", 1)``; its key has ``shortest`` parts. Raises as ``parse_setting``."""
    from sage.common.config.reading import read_value  # noqa: PLC0415

    path, sign, value = text.partition("=")
    keys = path.strip().split(".")
    if not sign or len(keys) < shortest or not all(keys):
        expected = "STEP.KEY=VALUE (or config.KEY=VALUE)" if shortest > 1 else "KEY=VALUE"
        example = "retriever.top_k=3" if shortest > 1 else "top_k=3"
        raise ConfigError(f"--set {text!r}: expected {expected}, e.g. --set {example}")
    return ".".join(keys), read_value(value)


def apply(spec: dict[str, Any], values: Mapping[str, Any], where: str) -> None:
    """Lay configuration over a spec, in place.

    Raises:
        ConfigError: There is no step of that id, or it has no configuration that is a mapping.
    """
    steps = {step.get("id"): step for step in spec.get("steps", ()) if isinstance(step, dict)}
    for key, value in values.items():
        if key == "config":
            owner: dict[str, Any] = spec
        elif key in steps:
            owner = steps[key]
        else:
            from sage.kernel.graph.options import suggest  # noqa: PLC0415

            names = [str(each) for each in steps]
            raise ConfigError(
                f"{where}: no step has the id {key!r}{suggest(str(key), names)} "
                f"(ids: config, {', '.join(names)})"
            )
        present: Any = owner.get("config") or {}
        if not isinstance(value, Mapping) or not isinstance(present, Mapping):
            raise ConfigError(f"{where}: the configuration of {key!r} must be a mapping")
        owner["config"] = _merged(present, value)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        result[key] = _merged(result[key], value) if both else value
    return result


def check_arguments(ctx: typer.Context, target: Path, arguments: Sequence[str] | None) -> None:
    """What follows the file belongs to a program; an option of ours among it is told.

    Raises:
        typer.BadParameter: There are arguments, and the file is no program.
    """
    if not arguments:
        return
    if not is_program(target):
        raise typer.BadParameter(
            f"{' '.join(arguments)!r}: arguments are for programs (.py); options come before the "
            f"file: {ctx.command_path} {' '.join(arguments)} {target}"
        )
    ours = {name for option in ctx.command.params for name in option.opts if name[:1] == "-"}
    for argument in arguments:
        if argument.partition("=")[0] in ours:
            warn(
                f"{argument} goes to {target.name}; options of `{ctx.command_path}` come before "
                "the file"
            )


def refuse_overrides(target: Path, config: Path | None, settings: Sequence[str]) -> None:
    """A program reads its own configuration.

    Raises:
        ConfigError: Overrides were given for a program.
    """
    if config is not None or settings:
        raise ConfigError(
            f"{target}: --config and --set are for pipeline files; a program gets its arguments: "
            f"sage run {target} ARGUMENTS"
        )


def check_program(
    target: Path, arguments: Sequence[str], *, view: str = ""
) -> tuple[list[Any], int]:
    """Run a program in check-only mode in a child process (see ``sage.api.checking``).

    Its own output is not shown, unless it fails before a problem was found.

    Args:
        target, arguments: The program.
        view: What each report shall also have under ``view``: ``plan``, ``mermaid`` or nothing.

    Returns:
        One report per submitted pipeline, and the exit code of the program.
    """
    with tempfile.TemporaryDirectory(prefix="sage-check-") as folder:
        report = Path(folder) / "report.jsonl"
        environment = {**os.environ, "SAGE_CHECK_ONLY": str(report)}
        if view:
            environment["SAGE_CHECK_VIEW"] = view
        command = [sys.executable, str(target), *arguments]
        done = subprocess.run(  # noqa: S603 - the user's own program
            command, env=environment, capture_output=True, check=False
        )
        lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
        reports = [json.loads(line) for line in lines]
        told = any(each["problems"] for each in reports)
        if done.returncode and not told:
            sys.stderr.write(done.stderr.decode(errors="replace"))
        return reports, done.returncode
