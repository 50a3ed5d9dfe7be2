"""Show the versions of SAGE and of Python."""

from __future__ import annotations

import platform
from importlib import metadata

from sage.common.cli.entry import version
from sage.common.cli.output import JsonOption, OutputFormat, OutputOption, emit
from sage.common.plugins.scan import BUILT_IN


def command(output: OutputOption = OutputFormat.TABLE, as_json: JsonOption = False) -> None:
    """Show the versions of SAGE and of Python."""
    data = {"sage": version()}
    for name in sorted(BUILT_IN - {"isage"}):
        try:
            data[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    data["python"] = platform.python_version()
    data["platform"] = platform.platform()
    emit(data, OutputFormat.JSON if as_json else output)
