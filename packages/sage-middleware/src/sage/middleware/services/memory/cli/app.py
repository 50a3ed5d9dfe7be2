"""Collections of texts and vectors, keys and values, nodes and edges: list, search, edit, serve."""

from __future__ import annotations

import typer

from sage.middleware.services.memory.cli import collections, indexes, review, rows, server, upkeep

app = typer.Typer(help="Collections: list, search, import, check, serve.", no_args_is_help=True)
app.command("list")(collections.list_collections)
app.command("show")(collections.show_collection)
app.command("create")(collections.create_collection)
app.command("rename")(collections.rename_collection)
app.command("delete")(collections.delete_collection)
app.command("query")(rows.query)
app.command("insert")(rows.insert)
app.command("import")(rows.import_rows)
app.command("export")(rows.export_rows)
app.command("forget")(rows.forget)
app.add_typer(indexes.app, name="index")
app.command("audit")(review.audit)
app.command("diff")(review.diff)
app.command("optimize")(upkeep.optimize)
app.command("doctor")(upkeep.doctor)
app.command("serve")(server.serve)
app.add_typer(server.token_app, name="token")
