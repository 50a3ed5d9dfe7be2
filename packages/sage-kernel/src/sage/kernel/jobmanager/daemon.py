"""The daemon: one process per data folder, from its lock to its last request.

``python -m sage.kernel.jobmanager.daemon SETTINGS READY_FD`` is what ``launch`` starts; containers
call ``run_daemon`` in the foreground. Predecessor: ``sage.kernel.jobmanager.launch``; successor:
``sage.kernel.jobmanager.app``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from sage.common.errors import JobError, SageError
from sage.common.logs import RedactingFormatter
from sage.common.paths import ensure_dir, write_secret
from sage.common.plugins import Registry
from sage.common.secrets import remember
from sage.common.serving.guard import LOOPBACK_HOSTS
from sage.common.serving.listening import Address, prepare
from sage.common.serving.tokens import FixedToken, TokenFile, new_token
from sage.kernel.jobmanager.app import create_app
from sage.kernel.jobmanager.failures import to_wire
from sage.kernel.jobmanager.layout import Home, token_path
from sage.kernel.jobmanager.manager import JobManager
from sage.kernel.jobmanager.process import start_time
from sage.kernel.jobmanager.settings import JobManagerSettings, jobmanager_settings
from sage.kernel.jobmanager.transport import TOKEN_VARIABLE

log = logging.getLogger("sage.kernel.jobmanager.daemon")  # also as __main__
PREFIX = "sagejm_"
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run_daemon(
    settings: JobManagerSettings,
    ready: Callable[[str], object],
    given: Mapping[str, Any] | None = None,
) -> None:
    """Serve until it is told to end: by its route, SIGTERM or SIGINT (jobs keep running).

    Args:
        settings: Its settings.
        ready: Called with the URL once connections are accepted and jobs recovered.
        given: Which of the settings are of no file; a restart gives them to the next one.

    Raises:
        JobError: Another daemon runs on the folder.
        ServiceError: The address cannot be bound.
        MissingExtraError: FastAPI or uvicorn is not installed.
    """
    home = Home(settings.data_dir)
    ensure_dir(home.path)
    with _locked(home), contextlib.ExitStack() as stack:
        address = Address(
            host=settings.host,
            port=settings.port,
            what="the JobManager",
            certfile=settings.certfile,
            keyfile=settings.keyfile,
            plaintext=settings.allow_plaintext,
        )
        manager = JobManager(settings)
        stack.callback(manager.database.close)
        ending: list[str] = []
        server: Any = None

        def shutdown(jobs: str) -> None:
            ending.append(jobs)
            manager.broker.close()  # streams end; connections could be waited for otherwise
            if server is not None:
                server.should_exit = True

        tokens = TokenFile(home.tokens, PREFIX)
        ensure_token(tokens)
        app = create_app(
            manager,
            tokens.accepts,
            shutdown,
            hosts={*LOOPBACK_HOSTS, settings.host.strip("[]"), *settings.hosts},
            mounts=dict(_mounts(settings.mounts, tokens.accepts, stack)),
        )
        manager.mounts = tuple(f"/{name}" for name in settings.mounts)
        server, listener, url = prepare(app, address)
        stack.callback(listener.close)
        manager.url = url
        manager.start()
        _write_state(home, url, settings, given or {})
        before = signal.signal(signal.SIGTERM, lambda *_: shutdown("keep"))
        signal.signal(signal.SIGINT, lambda *_: shutdown("keep"))
        try:
            log.info("listening at %s, data in %s", url, home.path)
            ready(url)
            server.run(sockets=[listener])
        finally:
            signal.signal(signal.SIGTERM, before)
            manager.close(ending[0] if ending else "keep")
            home.state.unlink(missing_ok=True)
            log.info("ended")


def ensure_token(tokens: TokenFile) -> str | None:
    """The token of this user, made at the first start; its hash is what the daemon keeps.

    Returns:
        The token where the file or the environment has it, else ``None``: the daemon accepts the
        tokens whose hashes it has.

    Raises:
        ConfigError: It is too short to be one.
    """
    path = token_path()
    given = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not given and path.is_file():
        given = path.read_text("utf-8").strip()
    if not given:
        if tokens.names():
            return None
        given = new_token(PREFIX)
        write_secret(path, given + "\n")
    FixedToken(given)  # refuses one that could be guessed
    remember(given)
    if not tokens.accepts(given):
        tokens.add(given, "default")
    return given


def set_up_log(path: Path, settings: JobManagerSettings) -> None:
    """Send the log of the process to a rotated file, secrets masked."""
    handler = RotatingFileHandler(
        path, maxBytes=settings.log_bytes, backupCount=settings.log_files, encoding="utf-8"
    )
    path.chmod(0o600)
    handler.setFormatter(RedactingFormatter(_FORMAT))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("sage").setLevel(logging.INFO)


@contextlib.contextmanager
def _locked(home: Home) -> Iterator[None]:
    handle = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise JobError(
                f"a JobManager runs already on {str(home.path)!r}; see: sage jobmanager status"
            ) from None
        yield
    finally:
        os.close(handle)


def _write_state(
    home: Home, url: str, settings: JobManagerSettings, given: Mapping[str, Any]
) -> None:
    state = {
        "pid": os.getpid(),
        "process_started": start_time(os.getpid()),
        "url": url,
        "certfile": None if settings.certfile is None else str(settings.certfile.absolute()),
        "given": dict(given),
    }
    write_secret(home.state, json.dumps(state))


def _mounts(
    wanted: Mapping[str, Mapping[str, Any]],
    authenticate: Callable[[str], bool],
    stack: contextlib.ExitStack,
) -> Iterator[tuple[str, Any]]:
    """Applications of other packages, each made by its factory and closed with the daemon."""
    for name, settings in wanted.items():
        factory = Registry("sage.http_apps").get(name)
        yield f"/{name}", stack.enter_context(factory(dict(settings), authenticate))


def main(arguments: list[str]) -> int:
    """Run a daemon that ``launch`` started.

    Args:
        arguments: Settings as JSON, and the descriptor on which to say that it is ready.
    """
    ready = int(arguments[1])
    try:
        given = json.loads(arguments[0])
        settings = jobmanager_settings(given)
        set_up_log(Home(settings.data_dir).log, settings)
        run_daemon(settings, lambda url: _tell(ready, {"url": url}), given)
    except SageError as error:
        log.error("cannot start: %s", error)  # noqa: TRY400 - the message explains itself
        with contextlib.suppress(OSError):
            _tell(ready, to_wire(error))
        return 1
    return 0


def _tell(handle: int, message: Mapping[str, Any]) -> None:
    os.write(handle, json.dumps(message).encode() + b"\n")
    os.close(handle)


if __name__ == "__main__":
    threading.current_thread().name = "jobmanager"
    code = main(sys.argv[1:])
    logging.shutdown()
    os._exit(code)  # the threads that watch jobs wait for processes that run on
