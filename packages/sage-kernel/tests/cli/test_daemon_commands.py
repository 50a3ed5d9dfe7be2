"""``sage jobmanager``, ``deploy``, ``services`` and ``install`` with real daemons."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml


@pytest.fixture
def daemons(shell):
    """The command line; whatever JobManager is left running is ended."""
    yield shell
    shell("jobmanager", "stop", "--jobs", "cancel")


def test_the_steps_of_the_troubleshooting_work_as_written(daemons):
    script = daemons.write(
        "your_script.py",
        "from sage.api.remote_environment import RemoteEnvironment\n"
        "env = RemoteEnvironment('remote', jobmanager_address='localhost:19009')\n"
        "env.from_collection([1]).print()\n"
        "env.wait_for_completion(env.submit())\n",
    )
    done = daemons("run", str(script))
    assert done.returncode == 7
    assert "Failed to connect to JobManager at localhost:19009" in done.stderr
    assert "sage jobmanager start" in done.stderr
    done = daemons("jobmanager", "status")
    assert done.returncode == 7
    assert "not running" in done.stdout
    assert "`sage jobmanager start` starts it" in done.stderr
    done = daemons("jobmanager", "start", SAGE_JOBMANAGER__PORT="19009")
    assert done.returncode == 0, done.stderr
    assert daemons("status", program="sage-jobmanager").returncode == 0
    done = daemons("run", str(script))
    assert done.returncode == 0, done.stderr


def test_starting_twice_restarting_and_stopping(daemons):
    daemons.start()
    first = daemons.json("jobmanager", "status")
    assert first["healthy"]
    done = daemons("jobmanager", "start")
    assert done.returncode == 0
    assert "runs already" in done.stderr
    done = daemons("jobmanager", "start", "--port", "1")
    assert done.returncode == 1
    assert f"runs already, at {first['url']}; `sage jobmanager restart`" in done.stderr
    second = daemons.json("jobmanager", "restart")
    assert second["url"] == first["url"]
    assert second["pid"] != first["pid"]
    assert "listening at" in daemons("jobmanager", "logs").stdout
    assert daemons("jobmanager", "logs", "-n", "1").stdout.count("\n") == 1
    assert daemons("services", "list").stderr == "no services are registered\n"
    done = daemons("jobmanager", "stop")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no JobManager runs here" in daemons("jobmanager", "stop").stderr


def test_an_ill_daemon_is_named_and_restarted(daemons):
    daemons.start()
    pid = daemons.json("jobmanager", "status")["pid"]
    url = daemons.json("jobmanager", "status")["url"]
    os.kill(pid, signal.SIGKILL)
    # Another program answers where the daemon was.
    done = daemons("jobmanager", "status")
    assert done.returncode == 7

    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        state = daemons.folder / "home/data/jobmanager/daemon.json"
        daemons.start()
        facts = json.loads(state.read_text())
        state.write_text(json.dumps(facts | {"url": f"http://127.0.0.1:{other.server_port}"}))
        for command in ("jobmanager", "deploy"):
            done = daemons(command, "status")
            assert done.returncode == 8, (url, done.stderr)
            assert "Health check failed" in done.stderr
            assert "sage jobmanager restart" in done.stderr
        state.write_text(json.dumps(facts))
        other.shutdown()
    assert daemons("jobmanager", "restart").returncode == 0
    assert daemons("jobmanager", "status").returncode == 0


def test_a_port_that_cannot_be_had_is_explained(daemons):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = daemons("jobmanager", "start", "--port", str(taken.getsockname()[1]))
        assert done.returncode == 1
        assert done.stdout == ""
        assert "in use" in done.stderr
        assert "daemon.log" in done.stderr


def test_a_port_of_the_system_is_explained(daemons):
    first_free = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not first_free.exists() or int(first_free.read_text()) <= 81:
        pytest.skip("every user may listen on port 81 here")
    command = daemons.command("jobmanager", "start", "--port", "81")
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv to be no system administrator")
        command = ["setpriv", "--bounding-set=-net_bind_service", *command]
    done = subprocess.run(
        command,
        cwd=daemons.folder,
        env=daemons.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Permission denied" in done.stderr
    assert "19001" in done.stderr


def test_deploy_is_the_jobmanager_and_says_what_is_not_there(daemons):
    done = daemons("deploy", "start", "--port", "0")
    assert done.returncode == 0
    assert "Ray is not started" in done.stderr
    rows = yaml.safe_load(daemons("deploy", "status", "-o", "yaml").stdout)
    assert {row["component"]: row["status"] for row in rows} == {
        "jobmanager": "running",
        "jobs": "ok",
        "ray": "not used",
    }
    assert daemons("stop", program="sage-deploy").returncode == 0
    assert daemons("deploy", "status").returncode == 7


def test_in_the_foreground_until_a_signal(daemons):
    process = subprocess.Popen(
        daemons.command("jobmanager", "start", "--foreground", "--port", "0"),
        cwd=daemons.folder,
        env=daemons.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any("is ready at http://127.0.0.1:" in line for line in process.stderr)
    assert daemons("job", "list").returncode == 0
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert daemons("jobmanager", "status").returncode == 7


def test_install_checks_runs_a_pipeline_and_guides(daemons):
    rows = daemons.json("install")
    found = {row["check"]: row["status"] for row in rows}
    assert (found["pipeline"], found["jobmanager"]) == ("ok", "absent")
    doctor = {row["check"]: row["status"] for row in daemons.json("doctor")}
    assert doctor["jobmanager"] == "absent"
    done = daemons("--start", program="sage-install", SAGE_JOBMANAGER__PORT="0")
    assert done.returncode == 0, done.stderr
    assert "connected to http://127.0.0.1:" in done.stdout
    assert "SAGE is installed and works" in done.stderr
    assert "sage jobmanager start" in done.stderr  # what to do next
    assert "sage app run qa" in done.stderr
    (row,) = [row for row in daemons.json("doctor") if row["check"] == "jobmanager"]
    assert (row["status"], row["detail"][:10]) == ("ok", "connected ")
    token = daemons.folder / "home/config/jobmanager-token"
    token.chmod(0o644)
    exposed = daemons("doctor")
    assert exposed.returncode == 8
    assert f"chmod 600 {token}" in exposed.stdout
    token.chmod(0o600)
    ill = daemons("doctor", SAGE_JOBMANAGER_TOKEN="x" * 40)
    assert ill.returncode == 8
    assert "refused the token" in ill.stdout
    broken = daemons("install", SAGE_JOBMANAGER_TOKEN="x" * 40)
    assert broken.returncode == 8
    assert "refused the token" in broken.stderr
    assert "if something fails:" in broken.stderr


def test_over_tls(daemons):
    pytest.importorskip("cryptography")
    made = daemons.json("ssl-cert", "generate")
    for key, part in (("certfile", "certificate"), ("keyfile", "key")):
        assert daemons("config", "set", f"jobmanager.{key}", made[part]).returncode == 0
    url = daemons.json("jobmanager", "start", "--port", "0")["url"]
    assert url.startswith("https://")
    assert daemons("job", "list").returncode == 0  # the one of this machine is trusted
    done = daemons("job", "list", "--address", url)
    assert done.returncode == 7
    assert "remote.cafile" in done.stderr
    assert daemons("job", "list", "-a", url, SAGE_REMOTE__CAFILE=made["ca"]).returncode == 0
