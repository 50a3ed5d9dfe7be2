"""Show, change, check and create configuration files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sage.common import paths
from sage.common.cli.output import ExitCode, OutputFormat, OutputOption, emit, error, say, warn
from sage.common.config import ConfigDict, Secret, format_path, load_config, structure_config
from sage.common.config.editing import set_value
from sage.common.config.reading import read_value
from sage.common.config.schema import plain
from sage.common.config.settings import load_settings, settings_files
from sage.common.errors import ConfigError, NotFoundError
from sage.common.plugins import find_operator
from sage.common.secrets import is_reference

app = typer.Typer(help="Show, change, check and create configuration files.", no_args_is_help=True)

FileArgument = Annotated[
    Path | None,
    typer.Argument(help="A YAML, TOML or JSON file; default: the settings of user and project."),
]

_SECRET_NAME = re.compile(r"(^|[._])(api_?key|password|secret|token)$", re.IGNORECASE)

_TEMPLATE = """\
# Configuration of a SAGE pipeline. Every value can also be set from outside:
#   ${NAME} or ${NAME:-default}    an environment variable, inside any text
#   env:NAME or file:path          a secret: read when it is used, never shown
#   SAGE_RETRIEVER__TOP_K=7        wins over retriever.top_k of this file

source:
  file_path: data/questions.txt
  batch_size: 10

retriever:
  collection_name: knowledge_base
  top_k: 5
  similarity_threshold: 0.0

promptor:
  template: "Answer the question based on context: {context}\\nQuestion: {query}\\nAnswer:"
  max_context_length: 2000 # tokens

generator:
  local:
    model: ${OPENAI_MODEL:-gpt-3.5-turbo}
    base_url: ${OPENAI_BASE_URL:-http://127.0.0.1:8000/v1}
    api_key: env:OPENAI_API_KEY
    temperature: 0.7
    max_tokens: 500

sink:
  output_format: json
  file_path: results/answers.json
"""


def _load(file: Path | None) -> ConfigDict:
    return load_settings() if file is None else load_config(file)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict) and (value or not path):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    else:
        yield path, value


@app.command()
def show(
    file: FileArgument = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value is from.")] = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show the configuration as it takes effect; secrets are masked."""
    config = _load(file)
    if file is None and not settings_files():
        say("no settings file; `sage config init` writes one")
    rows = []
    for path, value in _leaves(config):
        row = {"key": format_path(path), "value": plain(value)}
        rows.append({**row, "origin": config.origin(*path)} if origin else row)
    if output is not OutputFormat.TABLE and not origin:
        emit(plain(config), output)
    else:
        emit(rows, output)


@app.command()
def get(
    key: Annotated[str, typer.Argument(help="Dotted key, such as retriever.top_k.")],
    file: FileArgument = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Print one value; secrets are masked."""
    value: Any = _load(file)
    for part in key.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError):
            raise NotFoundError(f"the configuration has no key {key!r}", key=key) from None
    emit(plain(value), output)


@app.command("set")
def set_key(
    key: Annotated[str, typer.Argument(help="Dotted key, such as retriever.top_k.")],
    value: Annotated[str, typer.Argument(help="The value, typed as YAML: 7, true, [a, b], text.")],
    file: Annotated[
        Path | None, typer.Argument(help="A YAML or JSON file; default: the user's settings.")
    ] = None,
    project: Annotated[
        bool, typer.Option("--project", help="The settings of this folder (sage.yaml).")
    ] = False,
    text: Annotated[bool, typer.Option("--text", help="Take the value as text, as it is.")] = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Set one value in a file; comments and all else stay."""
    if file is not None and project:
        raise typer.BadParameter("give a FILE or --project, not both")
    target = file or _settings_file(project)
    if _SECRET_NAME.search(key) and not is_reference(value):
        Secret(value)  # so that it is masked in what is shown below
        warn(f"{key} is written as readable text; env:NAME or file:PATH keeps it out of the file")
    typed = value if text else read_value(value)
    set_value(target, key, typed)
    emit({"file": str(target), "key": key, "value": typed}, output)
    if file is None:
        config = load_settings()
        origin = config.origin(*key.split("."))
        if origin and origin != str(target):
            warn(f"another value takes effect, from {origin}")


def _settings_file(project: bool) -> Path:
    folder, stem = (Path(), "sage") if project else (paths.config_dir(), "config")
    here = [path for path in settings_files() if path.parent == folder and path.stem == stem]
    return here[0] if here else folder / f"{stem}.yaml"


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(help="The file to check.")],
    sections: Annotated[
        list[str] | None,
        typer.Option(
            "--as",
            metavar="SECTION=OPERATOR",
            help="Check a section against an operator's configuration; repeatable.",
        ),
    ] = None,
    output: OutputOption = OutputFormat.TABLE,
) -> int:
    """Check a file: syntax, variables, secrets; with --as also keys and types."""
    problems = list(dict.fromkeys(_problems_of(file, sections or ())))
    if output is not OutputFormat.TABLE:
        emit([{"file": str(file), "problem": problem} for problem in problems], output)
    for problem in problems:
        error(problem)
    if not problems:
        say(f"{file}: no problems found")
    return ExitCode.PROBLEMS if problems else ExitCode.OK


def _problems_of(file: Path, sections: Sequence[str]) -> Iterator[str]:
    try:
        config = load_config(file)
    except ConfigError as exc:
        yield str(exc)
        return
    for _, value in _leaves(config):
        if isinstance(value, Secret):
            yield from _problem(value.reveal)
    for section in sections:
        path, equals, operator = section.partition("=")
        if not equals:
            raise typer.BadParameter(f"expected SECTION=OPERATOR, got {section!r}")
        yield from _check_section(config, path, operator)


def _problem(check: Any) -> list[str]:
    try:
        check()
    except ConfigError as exc:
        return str(exc).splitlines()
    return []


def _check_section(config: ConfigDict, path: str, operator: str) -> list[str]:
    section: Any = config
    for part in path.split("."):
        if not isinstance(section, dict) or part not in section:
            return [f"{config.source}: there is no section {path!r}"]
        section = section[part]
    cls = find_operator(operator)
    schema = getattr(cls, "Config", None)
    if schema is None:
        return [f"the operator {operator!r} declares no Config to check {path!r} against"]
    return _problem(lambda: structure_config(section, schema, name=operator))


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="Where to write.")] = Path("config.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write a commented configuration to start from."""
    try:
        with file.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(_TEMPLATE)
    except FileExistsError:
        raise ConfigError(f"{file} exists; use --force to replace it") from None
    except OSError as exc:
        raise ConfigError(f"cannot write {file}: {exc.strerror}") from exc
    say(f"wrote {file}")


@app.command("path")
def show_paths(output: OutputOption = OutputFormat.TABLE) -> None:
    """Show where SAGE looks for and keeps its files."""
    emit(
        {
            "config": str(paths.config_dir()),
            "data": str(paths.data_dir()),
            "cache": str(paths.cache_dir()),
            "state": str(paths.state_dir()),
            "logs": str(paths.log_dir()),
            "run": str(paths.runtime_dir()),
            "settings": [str(path) for path in settings_files()],
        },
        output,
    )
