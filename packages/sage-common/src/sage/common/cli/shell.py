"""The ``sage`` shell: commands come from the entry-point group ``sage.commands``, one at a time.

An entry names a ``typer.Typer``, a click command or a plain function with typer annotations. It is
imported when it is called; its line in ``sage --help`` is the first line of the docstring of its
function or module, read from the source. A command may return its exit code.

Predecessor: ``sage.common.cli.entry``; successor: the commands.
"""

from __future__ import annotations

import difflib
import io
import os
import select
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_install_completion_arguments

from sage.common.cli.entry import version
from sage.common.cli.output import ExitCode, error, exit_code, say, warn
from sage.common.errors import PluginError, SageError, UnknownNameError
from sage.common.plugins import PluginWarning, Registry, load_entry, summary
from sage.common.secrets import redact

_COMPLETION = ("install_completion", "show_completion")
# typer has carried its own copy of click since 0.26: the base is reached through a public name.
_ClickError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


class LazyGroup(TyperGroup):
    """Commands by name from the registry; for help and completion only described, not imported."""

    _describing = False

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all installed commands."""
        return Registry("sage.commands").names()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, imported; ``None`` if there is none of that name."""
        registry = Registry("sage.commands")
        try:
            entry = registry.entry(cmd_name)
        except UnknownNameError:
            return None
        if self._describing:
            text = summary(entry) or f"(from {entry.distribution})"
            return TyperCommand(name=entry.name, help=text)
        return as_command(load_entry(entry), entry.name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that ``args`` begin with; an unknown one fails with the nearest name."""
        names = self.list_commands(ctx)
        if args and args[0] not in names and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the table of commands without importing them."""
        with self._described():
            super().format_commands(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Complete a command's name without importing any."""
        with self._described():
            return super().shell_complete(ctx, incomplete)

    @contextmanager
    def _described(self) -> Iterator[None]:
        self._describing = True
        try:
            yield
        finally:
            self._describing = False


def as_command(target: Any, name: str) -> Any:
    """A click command from what an entry point names.

    Raises:
        PluginError: It is neither a typer app, a click command nor a function.
    """
    if isinstance(target, typer.Typer):
        command = get_command(target)
        command.params = [p for p in command.params if p.name not in _COMPLETION]
        _plain_help(command)
    elif hasattr(target, "make_context"):
        command = target
    elif callable(target):
        app = typer.Typer(add_completion=False)
        app.command(name)(target)
        command = get_command(app)
        _plain_help(command)
    else:
        raise PluginError(
            f"the command {name!r} is a {type(target).__name__}; expected a typer.Typer, a click "
            "command or a function"
        )
    command.name = name
    return command


def _plain_help(command: Any) -> None:
    """Have a command and those below it show help as ``sage --help`` does, without rich."""
    command.rich_markup_mode = None
    command.context_settings.setdefault("help_option_names", ["-h", "--help"])
    for below in getattr(command, "commands", {}).values():
        _plain_help(below)


_app = typer.Typer(
    cls=LazyGroup,
    name="sage",
    help="SAGE: LLM workflows as typed dataflow graphs.",
    no_args_is_help=True,
    rich_markup_mode=None,  # importing rich would double the time of --help
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"sage {version()}\n")
        raise typer.Exit


@_app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", help="Show the version.", callback=_show_version, is_eager=True
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks of errors (or SAGE_DEBUG=1).")
    ] = False,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Log more; twice for everything.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log errors only.")] = False,
) -> None:
    from sage.common.logs import set_up_logging  # noqa: PLC0415 - not needed for help

    if debug:
        os.environ["SAGE_DEBUG"] = "1"
    set_up_logging(-1 if quiet else 2 if debug else verbose)


def run_root(args: Sequence[str]) -> int:
    """Run ``sage ARGS``; returns the exit code."""
    return run(get_command(_app), args, "sage")


def run_standalone(name: str, args: Sequence[str]) -> int:
    """Run ``sage-NAME ARGS``, which is ``sage NAME ARGS``; returns the exit code."""
    from sage.common.logs import set_up_logging  # noqa: PLC0415 - not needed for --version

    set_up_logging()
    try:
        command = as_command(Registry("sage.commands").get(name), name)
    except SageError as exc:
        return _show(exc)
    command.params = [*command.params, *get_install_completion_arguments()]
    return run(command, args, f"sage-{name}")


def run(command: Any, args: Sequence[str], program: str) -> int:
    """Run a click command and turn whatever ends it into words on stderr and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name of a file may be no text of this terminal
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.simplefilter("once", PluginWarning)
        warnings.showwarning = _show_warning
        try:
            result = command.main(args=list(args), prog_name=program, standalone_mode=False)
            sys.stdout.flush()
        except _ClickError as exc:
            exc.show()
            return int(exc.exit_code)
        except (typer.Abort, KeyboardInterrupt):
            say("interrupted")
            return ExitCode.INTERRUPTED
        except BrokenPipeError:
            # The reader has what it wanted; keep the interpreter from complaining at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.OK
        except SystemExit as exc:
            return exc.code if isinstance(exc.code, int) else int(exc.code is not None)
        except Exception as exc:  # noqa: BLE001 - the last resort of a program: words, not a trace
            if _reader_left(exc):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return ExitCode.OK
            return _show(exc)
    return result if isinstance(result, int) and not isinstance(result, bool) else ExitCode.OK


def _reader_left(exc: BaseException | None) -> bool:
    """Whether the error goes back to the end of a pipe: ``sage run ... | head``."""
    while exc is not None and not isinstance(exc, BrokenPipeError):
        exc = exc.__cause__
    if exc is None or not hasattr(select, "poll"):
        return False
    poll = select.poll()  # it may also be a socket of the job, which is an error like any other
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    return any(flags & (select.POLLERR | select.POLLHUP) for _, flags in poll.poll(0))


def _show(exc: Exception) -> int:
    if os.environ.get("SAGE_DEBUG", "") not in ("", "0"):
        sys.stderr.write(redact("".join(traceback.format_exception(exc))))
    elif isinstance(exc, SageError) or (isinstance(exc, TimeoutError) and str(exc)):
        error(str(exc))
    else:
        error(f"{type(exc).__name__}: {exc} (set SAGE_DEBUG=1 for the traceback)")
    return exit_code(exc)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    if issubclass(category, PluginWarning):
        warn(str(message))
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))
