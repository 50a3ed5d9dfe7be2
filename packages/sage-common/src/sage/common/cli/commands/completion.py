"""Print the shell completion of all SAGE programs."""

from __future__ import annotations

from enum import StrEnum
from importlib import metadata
from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]

from sage.common.cli.output import say
from sage.common.plugins.scan import BUILT_IN


class Shell(StrEnum):
    """Shells that completion is written for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


_USE = {
    Shell.BASH: 'add to ~/.bashrc:  eval "$(sage completion bash)"',
    Shell.ZSH: 'add to ~/.zshrc, after compinit:  eval "$(sage completion zsh)"',
    Shell.FISH: "sage completion fish > ~/.config/fish/conf.d/sage.fish",
    Shell.POWERSHELL: "sage completion powershell >> $PROFILE",
}


def command(
    shell: Annotated[Shell, typer.Argument(help="The shell.", show_default=False)],
) -> None:
    """Print the shell completion of all SAGE programs."""
    for program in programs():
        variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
        typer.echo(get_completion_script(prog_name=program, complete_var=variable, shell=shell))
    say(f"# {_USE[shell]}")


def programs() -> list[str]:
    """Names of the programs that SAGE's distributions install and that complete their words."""
    found = {
        entry.name
        for entry in metadata.entry_points(group="console_scripts")
        if entry.dist is not None and entry.dist.name.lower().replace("_", "-") in BUILT_IN
    }
    return sorted(name for name in found if name == "sage" or name.startswith("sage-"))
