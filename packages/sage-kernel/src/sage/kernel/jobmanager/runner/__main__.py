"""Entry of a job's process."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from sage.api import hosting
from sage.common.errors import SageError
from sage.common.logs import set_up_logging
from sage.common.paths import write_secret
from sage.common.secrets import redact, remember
from sage.kernel.jobmanager.journal import Journal
from sage.kernel.jobmanager.layout import JobFolder
from sage.kernel.jobmanager.process import start_time
from sage.kernel.jobmanager.runner.actions import Plan
from sage.kernel.jobmanager.runner.execute import execute
from sage.kernel.jobmanager.runner.host import Host
from sage.kernel.jobmanager.runner.output import Output
from sage.kernel.jobmanager.runner.requests import Requests
from sage.kernel.jobmanager.submission import SECRET_NAMES, read_submission

FINISHED, FAILED, CANCELED, SUSPENDED = "FINISHED", "FAILED", "CANCELED", "SUSPENDED"
EXIT_CODES = {FINISHED: 0, FAILED: 3, CANCELED: 130, SUSPENDED: 75}


def main(arguments: list[str]) -> int:
    """Run an attempt of a job.

    Args:
        arguments: Folder of the job, number of the attempt, descriptor of the control socket, and
            JSON settings: ``allow_code``, ``metrics_interval``, ``log_bytes``, ``log_files``.
    """
    folder, attempt = JobFolder(Path(arguments[0])), int(arguments[1])
    settings = json.loads(arguments[3])
    listener = socket.socket(fileno=int(arguments[2]))
    listener.set_inheritable(False)
    output = Output(folder.log, settings["log_bytes"], settings["log_files"])
    output.start()
    faulthandler.enable(2)
    set_up_logging(1, sys.stderr)
    journal = Journal(folder, attempt)
    # Every attempt writes this first; the daemon takes it for "the process is there".
    facts = {"pid": os.getpid(), "process_started": start_time(os.getpid()), "attempt": attempt}
    main_thread = threading.main_thread().ident
    stopping: list[str] = []

    def stop(how: str) -> None:
        stopping.append(how)
        if requests.host is not None:
            requests.host.stop(how)
        if main_thread is not None:
            signal.pthread_kill(main_thread, signal.SIGINT)

    requests = Requests(listener, journal, facts, stop)
    requests.start()
    # In a thread: what the signal interrupted may hold a lock that stopping needs.
    signal.signal(
        signal.SIGTERM,
        lambda *_: threading.Thread(target=stop, args=("cancel",), name="sigterm").start(),
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it may have been born deaf to it
    ended = threading.Event()
    status, error = FAILED, None
    watch: threading.Thread | None = None
    try:
        submission = read_submission(json.loads(folder.submission.read_text("utf-8")))
        for name, value in submission.environment.items():
            if any(part in name.upper() for part in SECRET_NAMES):
                remember(value)
        journal.append("state", {"status": "RUNNING", "pid": os.getpid()})
        if settings["allow_code"]:
            sys.path.append(str(Path.cwd()))  # for the modules that --allow names
        host = Host(folder, journal, Plan(submission, folder))
        hosting.host = host
        requests.host = host
        for how in stopping:
            host.stop(how)
        watch = _watch(host, output, ended, settings["metrics_interval"])
        execute(submission, folder, host)
        status = _how_it_ended(host)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # asked twice, it must end as well as once
        status = SUSPENDED if stopping[:1] == ["suspend"] else CANCELED
        if requests.host is not None:
            for job in requests.host.jobs:
                job.cancel()
    except BaseException as raised:  # noqa: BLE001 - the boundary of the process
        if stopping:
            status = SUSPENDED if stopping[0] == "suspend" else CANCELED
        else:
            error = _explain(raised)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        ended.set()
        if watch is not None:
            watch.join()
    if requests.host is not None:
        requests.host.record_sample()
    sys.stdout.flush()
    sys.stderr.flush()
    result = {"status": status, "error": error}
    journal.append("result", result)
    write_secret(folder.result(attempt), json.dumps(result))
    return EXIT_CODES[status]


def _how_it_ended(host: Host) -> str:
    if host.stopping:
        return SUSPENDED if host.stopping == "suspend" else CANCELED
    statuses = [job.status for job in host.jobs]
    return CANCELED if statuses and statuses[-1] == CANCELED else FINISHED


def _explain(error: BaseException) -> str:
    traceback.print_exception(error)
    if isinstance(error, SageError):
        return redact(str(error))
    return redact(f"{type(error).__name__}: {error}")


def _watch(host: Host, output: Output, ended: threading.Event, interval: float) -> Any:
    def work() -> None:
        while not ended.wait(interval):
            host.record_sample()
            output.rotate_if_large()

    thread = threading.Thread(target=work, name="metrics", daemon=True)
    thread.start()
    return thread


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # Threads of the user's code that do not end must not keep a job alive that has ended.
    os._exit(code)
