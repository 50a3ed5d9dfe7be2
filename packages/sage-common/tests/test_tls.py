"""Certificates: made, shown, verified, and accepted by a real TLS handshake."""

from __future__ import annotations

import shutil
import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest

from sage.common.errors import ConfigError, NotFoundError
from sage.common.tls import CertificateFiles, files_in, generate, show, verify

pytest.importorskip("cryptography")


def test_what_is_made_is_right_and_private(tmp_path: Path) -> None:
    files = generate(tmp_path, hosts=["jobs.example.org", "10.1.2.3"])
    assert files == files_in(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ca.pem", "server-key.pem", "server.pem"]
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert verify(files) == verify(files, host="jobs.example.org") == []
    assert verify(files, host="::1") == []
    (problem,) = verify(files, host="evil.example")
    assert "jobs.example.org" in problem
    server, authority = show(files.certificate), show(files.ca)
    assert {"localhost", "127.0.0.1", "::1", "jobs.example.org", "10.1.2.3"} <= set(server.hosts)
    assert (server.authority, authority.authority) == (False, True)
    assert server.issuer == authority.subject
    assert server.days_left == 364
    assert len(server.fingerprint) == 64


def test_a_client_that_trusts_the_authority_connects(tmp_path: Path) -> None:
    files = generate(tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(files.certificate, files.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                connection, _address = listener.accept()
                try:
                    with serving.wrap_socket(connection, server_side=True) as secure:
                        secure.sendall(b"hello")
                except (ssl.SSLError, ConnectionError):
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        address = listener.getsockname()
        trusting = ssl.create_default_context(cafile=files.ca)
        with (
            socket.create_connection(address) as plain,
            trusting.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            assert secure.recv(5) == b"hello"
        with (
            socket.create_connection(address) as plain,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")
        thread.join()


def test_files_are_replaced_only_when_asked(tmp_path: Path) -> None:
    first = show(generate(tmp_path).certificate)
    with pytest.raises(ConfigError, match="--force"):
        generate(tmp_path)
    assert show(generate(tmp_path, overwrite=True).certificate).serial != first.serial


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    ours, theirs = generate(tmp_path / "a", days=10), generate(tmp_path / "b")
    assert any("ends in 9 days" in each for each in verify(ours))
    mixed = CertificateFiles(ca=theirs.ca, certificate=ours.certificate, key=theirs.key)
    problems = "\n".join(verify(mixed))
    assert "was not signed by" in problems
    assert "is not the key of" in problems
    theirs.key.chmod(0o644)
    assert any("chmod 600" in each for each in verify(theirs))
    leaf = CertificateFiles(ca=theirs.certificate, certificate=theirs.certificate, key=theirs.key)
    assert any("is no authority" in each for each in verify(leaf))


def test_bad_arguments_and_files(tmp_path: Path) -> None:
    for host in ("has space", "-" * 0 + "a..b", "umlaut-ä", "a" * 64):
        with pytest.raises(ConfigError, match="neither a host name"):
            generate(tmp_path / "x", hosts=[host])
    for days in (0, 4000):
        with pytest.raises(ConfigError, match="days"):
            generate(tmp_path / "x", days=days)
    assert not (tmp_path / "x").exists()
    with pytest.raises(NotFoundError, match="sage ssl-cert generate"):
        verify(files_in(tmp_path / "x"))
    files = generate(tmp_path / "y")
    shutil.copy(files.key, files.ca)
    with pytest.raises(ConfigError, match="no certificate"):
        show(files.ca)
    files.key.write_text("junk")
    files = generate(tmp_path / "z")
    files.key.write_text("junk")
    with pytest.raises(ConfigError, match="no private key"):
        verify(files)
