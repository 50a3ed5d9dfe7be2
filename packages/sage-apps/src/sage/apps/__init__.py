"""Ready applications, each runnable by ``sage app run NAME``.

An application is a function with typer annotations (or a typer or click command), registered in the
entry-point group ``sage.apps``; its first docstring line is shown by ``sage app list``.

Reading order: ``command`` (``sage app``), ``scaffold`` and ``templates`` (``sage app new``),
``evaluation`` (``sage eval``), then one package per application: ``qa``, ``ingest``, ``rag_eval``.
"""

from sage.common.cli.entry import standalone

__all__ = ["main_app", "main_eval"]

main_app = standalone("app")
main_eval = standalone("eval")
