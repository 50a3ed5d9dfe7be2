"""Starting, restarting and ending a daemon where files, addresses or processes are unusual."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sage.common import tls
from sage.common.config.editing import set_value
from sage.common.errors import ConfigError
from sage.common.paths import config_dir
from sage.kernel.jobmanager.client import JobManagerClient
from sage.kernel.jobmanager.launch import daemon_state, restart_daemon, start_daemon, stop_daemon
from sage.kernel.jobmanager.layout import Home
from sage.kernel.jobmanager.settings import jobmanager_settings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_restart_takes_the_settings_as_they_are_now(daemon: Any, home: Path) -> None:
    first, second = free_port(), free_port()
    file = config_dir() / "config.yaml"
    set_value(file, "jobmanager.port", first)
    daemon.url = start_daemon().url
    assert daemon.url.endswith(f":{first}")
    set_value(file, "jobmanager.port", second)
    assert restart_daemon().url.endswith(f":{second}")


def test_a_restart_keeps_what_was_said_at_the_start(daemon: Any) -> None:
    daemon.start(max_jobs=7)
    again = restart_daemon()
    assert (again.url, again.max_jobs) == (daemon.url, 7)
    assert restart_daemon(settings={"max_jobs": 3}).max_jobs == 3
    assert restart_daemon().max_jobs == 3


def test_modules_of_the_folder_are_not_those_of_the_daemon(daemon: Any, tmp_path: Path) -> None:
    for name in ("json", "logging", "sqlite3", "fastapi", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    assert daemon.start().health()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"pid": 1, "process_started": "1"}', "no"])
def test_a_damaged_pid_file_is_no_daemon(text: str, home: Path) -> None:
    place = Home(jobmanager_settings().data_dir)
    place.prepare()
    place.state.write_text(text)
    assert not daemon_state().running
    assert not stop_daemon()


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_is_one(port: int) -> None:
    with pytest.raises(ConfigError, match="port"):
        jobmanager_settings({"port": port})


@pytest.mark.parametrize(
    "address", ["localhost:99999", "http://localhost:abc", "http://[::1", "localhost:0"]
)
def test_an_address_is_one(address: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        JobManagerClient(address)


def test_a_daemon_that_leads_no_group_and_does_not_answer_is_ended(until: Any, home: Path) -> None:
    code = "from sage.common.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "jobmanager", "start", "--foreground", "--port", "0"]
    )
    try:
        until(lambda: daemon_state().healthy, "it is ready")
        os.kill(process.pid, signal.SIGSTOP)
        assert stop_daemon(timeout=0.2)
        assert process.wait(60) in (-signal.SIGKILL, 0)
    finally:
        process.kill()


def test_a_daemon_on_all_addresses_is_reached_over_tls(daemon: Any, tmp_path: Path) -> None:
    files = tls.generate(tmp_path / "tls", hosts=())
    client = daemon.start(
        host="0.0.0.0",
        certfile=str(files.certificate),
        keyfile=str(files.key),
    )
    assert client is not None  # its status was asked when it was ready
    state = daemon_state()
    assert (state.healthy, state.problem) == (True, None)
