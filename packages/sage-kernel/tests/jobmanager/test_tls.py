"""A JobManager behind TLS, with certificates of ``sage.common.tls``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sage.common.errors import UnreachableError
from sage.common.tls import generate
from sage.kernel.jobmanager.client import JobManagerClient
from sage.kernel.jobmanager.launch import daemon_state

pytest.importorskip("cryptography")


def test_clients_that_know_the_authority_are_served(daemon: Any, tmp_path: Path) -> None:
    files = generate(tmp_path / "tls")
    paths = {"certfile": str(files.certificate), "keyfile": str(files.key)}
    (tmp_path / "sage.yaml").write_text(
        f"jobmanager: {{certfile: {files.certificate}, keyfile: {files.key}}}\n"
    )
    daemon.start(**paths)
    assert daemon.url.startswith("https://127.0.0.1:")
    client = JobManagerClient(daemon.url, cafile=files.ca)
    assert client.health()
    assert client.status().pid == daemon.pid
    assert daemon_state().healthy
    with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
        JobManagerClient(daemon.url).jobs()
