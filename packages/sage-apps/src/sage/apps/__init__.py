"""Ready applications, each runnable by ``sage app run NAME``.

An application is a function with typer annotations (or a typer or click command), registered in the
entry-point group ``sage.apps``; its first docstring line is shown by ``sage app list``.

Reading order: ``command`` (the command ``sage app``), then one package per application: ``qa``.
"""
