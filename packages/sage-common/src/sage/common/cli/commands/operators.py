"""List the installed operators and show what each accepts."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from sage.common.cli.output import JsonOption, OutputFormat, OutputOption, emit, say, style, table
from sage.common.errors import PluginError
from sage.common.plugins import (
    PluginEntry,
    find_operator_entry,
    group_of,
    kind_of,
    load_entry,
    operators,
    summary,
)

app = typer.Typer(
    help="List the installed operators and show what each accepts.", no_args_is_help=True
)

KindOption = Annotated[
    str | None, typer.Option("--kind", "-k", help="Only this kind, such as retriever or sink.")
]


def _names(incomplete: str) -> list[str]:
    return [entry.name for entry in operators() if entry.name.startswith(incomplete)]


@app.command("list")
def list_operators(
    kind: KindOption = None,
    output: OutputOption = OutputFormat.TABLE,
    as_json: JsonOption = False,
) -> None:
    """List the installed operators, from metadata alone: none is imported."""
    output = OutputFormat.JSON if as_json else output
    if kind is not None:
        try:
            group_of(kind)
        except PluginError as exc:
            raise typer.BadParameter(str(exc), param_hint="--kind") from exc
    rows = [_row(entry) for entry in operators(kind)]
    if not rows and output is OutputFormat.TABLE:
        say("no operators are installed" + (f" of the kind {kind!r}" if kind else ""))
    emit(rows, output, columns=("name", "kind", "distribution", "summary"))


@app.command("show")
def show_operator(
    name: Annotated[str, typer.Argument(help="Name of the operator.", autocompletion=_names)],
    kind: KindOption = None,
    output: OutputOption = OutputFormat.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Show an operator: what it does, and its configuration with types, defaults and units."""
    output = OutputFormat.JSON if as_json else output
    entry = find_operator_entry(name, kind=kind)
    data = describe(entry)
    emit(data, output, text=_text(data) if output is OutputFormat.TABLE else None)


def describe(entry: PluginEntry) -> dict[str, Any]:
    """An operator as plain data. Imports the operator's module, which by contract is light.

    Raises:
        PluginError: It cannot be imported.
    """
    # attrs and cattrs cost 60 ms that `operators list` does not need.
    from sage.common.config.schema import config_schema, json_schema, plain  # noqa: PLC0415

    operator = load_entry(entry)
    config = getattr(operator, "Config", None)
    data = _row(entry)
    data["doc"] = inspect.getdoc(operator) or ""
    data["effect"] = bool(getattr(operator, "effect", False))
    data["execute"] = _signature(operator)
    data["config"] = plain(config_schema(config)) if config is not None else None
    data["schema"] = json_schema(config) if config is not None else None
    return data


def _row(entry: PluginEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": kind_of(entry.group),
        "distribution": entry.distribution,
        "version": entry.version,
        "target": entry.target,
        "summary": summary(entry),
    }


def _signature(operator: Any) -> str | None:
    for method in ("execute", "run", "process", "map1"):
        function = getattr(operator, method, None)
        if function is None:
            continue
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            return None
        inputs = [
            f"{parameter.name}{_annotation(': ', parameter.annotation)}"
            for parameter in signature.parameters.values()
            if parameter.name != "self"
        ]
        output = _annotation(" -> ", signature.return_annotation)
        return f"{method}({', '.join(inputs)}){output}"
    return None


def _annotation(before: str, annotation: Any) -> str:
    if annotation is inspect.Signature.empty:
        return ""
    from sage.common.config.type_names import type_name  # noqa: PLC0415 - as in describe()

    return before + (annotation if isinstance(annotation, str) else type_name(annotation))


def _text(data: dict[str, Any]) -> str:
    origin = f"({data['kind']}, {data['distribution']} {data['version']})"
    title = f"{style(data['name'], 'bold')}  {origin}"
    lines = [title, style(data["target"], "dim"), "", data["doc"]]
    if data["execute"]:
        lines += ["", style("Step", "bold"), f"  {data['execute']}"]
    lines += ["", style("Configuration", "bold")]
    if data["config"] is None:
        lines.append("  any mapping: the operator declares no Config")
    elif not data["config"]:
        lines.append("  none")
    else:
        lines += [f"  {line}" for line in table(list(_rows(data["config"]))).splitlines()]
    return "\n".join(lines)


def _rows(fields: Sequence[dict[str, Any]], prefix: str = "") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for field in fields:
        default = "required" if field["required"] else _default(field["default"])
        rows.append(
            {
                "key": prefix + field["name"],
                "type": field["type"],
                "default": default,
                "unit": field["unit"] or None,
                "meaning": field["help"] or None,
            }
        )
        rows += _rows(field["fields"], f"{prefix}{field['name']}.")
    return rows


def _default(value: Any) -> str:
    if value is None:
        return "none"
    return repr(value) if isinstance(value, str) else str(value)
