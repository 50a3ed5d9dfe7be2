"""Entry of the console scripts: ``sage`` and the standalone forms such as ``sage-config``.

Answers ``--version`` on its own and loads the shell for everything else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence


def version() -> str:
    """The version of SAGE: of the meta distribution, else of this one."""
    from importlib import metadata  # noqa: PLC0415 - costs more than all the rest of --version

    try:
        return metadata.version("isage")
    except metadata.PackageNotFoundError:
        return metadata.version("isage-common")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``sage``; returns the exit code.

    Args:
        argv: Arguments without the program; default: those of the process.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if args in (["--version"], ["-V"]):
        sys.stdout.write(f"sage {version()}\n")
        return 0
    from sage.common.cli.shell import run_root  # noqa: PLC0415 - typer

    return run_root(args)


def standalone(command: str) -> Callable[[], int]:
    """Make the entry of ``sage-<command>``, which does what ``sage <command>`` does.

    Assign the result in a module and name that in ``[project.scripts]``::

        main_job = standalone("job")        # sage-job = "sage.kernel.cli:main_job"
    """

    def main_command() -> int:
        args = sys.argv[1:]
        if args in (["--version"], ["-V"]):
            sys.stdout.write(f"sage-{command} {version()}\n")
            return 0
        from sage.common.cli.shell import run_standalone  # noqa: PLC0415 - typer

        return run_standalone(command, args)

    main_command.__name__ = f"main_{command.replace('-', '_')}"
    return main_command


main_config = standalone("config")
main_doctor = standalone("doctor")
main_license = standalone("license")
main_operators = standalone("operators")
main_ssl_cert = standalone("ssl-cert")
