"""``sage memory serve | token``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sage.common.cli.output import OutputFormat, OutputOption, emit, say
from sage.middleware.services.memory.cli.opening import DirOption

token_app = typer.Typer(help="Make, list and revoke the server's tokens.", no_args_is_help=True)
TokenFileOption = Annotated[
    Path | None, typer.Option("--token-file", help="File of the token hashes.")
]


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for any.", min=0, max=65535)] = 19002,
    data_dir: DirOption = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings of the service (`memory:`).")
    ] = None,
    token_file: TokenFileOption = None,
    hosts: Annotated[
        list[str] | None, typer.Option("--allow-host", help="A name clients call it by.")
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--allow-model", help="An embedding model clients may name.")
    ] = None,
    max_body_mb: Annotated[int, typer.Option("--max-body", min=1, help="MiB per request.")] = 64,
    certfile: Annotated[Path | None, typer.Option("--ssl-certfile", help="PEM file.")] = None,
    keyfile: Annotated[Path | None, typer.Option("--ssl-keyfile", help="PEM file.")] = None,
    plaintext: Annotated[
        bool, typer.Option("--allow-plaintext", help="Another than loopback without TLS.")
    ] = False,
) -> None:
    """Serve the collections over HTTP; every request needs a token.

    The token is SAGE_MEMORY_TOKEN if that is set; else one is made at the first start and shown
    once.
    """
    # FastAPI and what it serves take a second: after everything that can be refused cheaply.
    from sage.common.serving.listening import Address  # noqa: PLC0415

    address = Address(
        host=host,
        port=port,
        what="the memory server",
        certfile=certfile,
        keyfile=keyfile,
        plaintext=plaintext,
    )
    address.check()
    from sage.common.serving.guard import LOOPBACK_HOSTS  # noqa: PLC0415
    from sage.common.serving.listening import serve as run  # noqa: PLC0415
    from sage.common.serving.tokens import FixedToken  # noqa: PLC0415
    from sage.middleware.services.memory.rest.app import create_app  # noqa: PLC0415
    from sage.middleware.services.memory.rest.limits import DEFAULT_MODELS, Limits  # noqa: PLC0415
    from sage.middleware.services.memory.rest.tokens import VARIABLE  # noqa: PLC0415
    from sage.middleware.services.memory.rest.tokens import token_file as tokens_of  # noqa: PLC0415
    from sage.middleware.services.memory.service import MemoryService  # noqa: PLC0415

    given = os.environ.get(VARIABLE)
    accepts = FixedToken(given).accepts if given else tokens_of(token_file).accepts
    overrides = {} if data_dir is None else {"data_dir": str(data_dir)}
    with MemoryService(_settings(config), **overrides) as service:
        app = create_app(
            service,
            authenticate=accepts,
            hosts={*LOOPBACK_HOSTS, host.strip("[]"), *(hosts or ())},
            max_body=max_body_mb * 1024 * 1024,
            limits=Limits(models=DEFAULT_MODELS | set(models or ())),
        )

        def ready(url: str) -> None:
            if not given and not tokens_of(token_file).names():
                token = tokens_of(token_file).new()
                say(f"token (shown only now): {token}\n  export {VARIABLE}={token}")
            say(f"serving {service.data_dir} at {url}; stop with Ctrl-C")

        run(app, address, ready)


@token_app.command("new")
def new_token(
    name: Annotated[str, typer.Argument(help="What it is for.")] = "default",
    token_file: TokenFileOption = None,
) -> None:
    """Make a token and show it, once."""
    from sage.middleware.services.memory.rest.tokens import token_file as tokens_of  # noqa: PLC0415

    typer.echo(tokens_of(token_file).new(name))


@token_app.command("list")
def list_tokens(
    token_file: TokenFileOption = None, output: OutputOption = OutputFormat.TABLE
) -> None:
    """List the tokens by name; they themselves are not kept."""
    from sage.middleware.services.memory.rest.tokens import token_file as tokens_of  # noqa: PLC0415

    emit(tokens_of(token_file).names(), output)


@token_app.command("revoke")
def revoke_token(
    name: Annotated[str, typer.Argument(help="Its name.")], token_file: TokenFileOption = None
) -> None:
    """Refuse a token from now on; servers that run see it at once."""
    from sage.middleware.services.memory.rest.tokens import token_file as tokens_of  # noqa: PLC0415

    tokens_of(token_file).revoke(name)
    say(f"revoked {name!r}")


def _settings(config: Path | None) -> Mapping[str, Any] | None:
    if config is None:
        return None
    from sage.common.config import load_config  # noqa: PLC0415

    loaded = load_config(config)
    section: Mapping[str, Any] = loaded.get("memory", loaded)
    return section
