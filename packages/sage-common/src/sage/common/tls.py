"""TLS certificates for the servers of SAGE: an authority of one's own and a certificate of it.

``generate`` makes ``ca.pem`` (given to clients), ``server.pem`` and ``server-key.pem`` (for the
server); the key of the authority is not kept, so that nobody can sign another certificate with it.
Needs the package ``cryptography`` (extra ``server``), which is imported when it is used.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from sage.common.errors import ConfigError, MissingExtraError, NotFoundError
from sage.common.paths import config_dir, ensure_dir, write_secret

DEFAULT_DAYS = 365
"""Source: 398 days is the most that browsers accept (CA/Browser Forum, 2020)."""
_SOON_DAYS = 30


@attrs.frozen(kw_only=True)
class CertificateFiles:
    """Where the parts are.

    Attributes:
        ca: Certificate of the authority, for clients.
        certificate: Certificate of the server, followed by that of the authority.
        key: Private key of the server (0600).
    """

    ca: Path
    certificate: Path
    key: Path


@attrs.frozen(kw_only=True)
class CertificateInfo:
    """What a certificate says.

    Attributes:
        path: The file.
        subject, issuer: Names.
        hosts: Names and addresses it is for.
        serial: Serial number in hexadecimal.
        fingerprint: SHA-256 in hexadecimal.
        not_before, not_after: Validity, ISO 8601 in UTC.
        days_left: Whole days until it ends; negative when it has ended.
        authority: Whether it may sign others.
    """

    path: str
    subject: str
    issuer: str
    hosts: tuple[str, ...]
    serial: str
    fingerprint: str
    not_before: str
    not_after: str
    days_left: int
    authority: bool


def default_folder() -> Path:
    """``tls`` in the configuration folder."""
    return config_dir() / "tls"


def files_in(folder: str | os.PathLike[str] | None = None) -> CertificateFiles:
    """The files of a folder; they need not exist."""
    base = default_folder() if folder is None else Path(folder)
    return CertificateFiles(
        ca=base / "ca.pem", certificate=base / "server.pem", key=base / "server-key.pem"
    )


def generate(
    folder: str | os.PathLike[str] | None = None,
    *,
    hosts: Iterable[str] = (),
    days: int = DEFAULT_DAYS,
    overwrite: bool = False,
) -> CertificateFiles:
    """Make an authority and a server certificate.

    Args:
        folder: Where the files go; default: ``default_folder()``.
        hosts: Names and addresses of the server, beside ``localhost``, the loopback addresses and
            the name of this machine.
        days: Days for which both are valid.
        overwrite: Replace files that are there.

    Raises:
        ConfigError: There are files already, a host is no name, or ``days`` is out of range.
        MissingExtraError: ``cryptography`` is not installed.
    """
    x509, hashes, serialization, ec = _cryptography()
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    if not 1 <= days <= 3650:
        raise ConfigError(f"days must be 1 to 3650, got {days}")
    files = files_in(folder)
    there = [str(path) for path in (files.ca, files.certificate, files.key) if path.exists()]
    if there and not overwrite:
        raise ConfigError(
            f"{there[0]} exists already; to replace it (clients then need the new ca.pem), say "
            "--force"
        )
    names = list(dict.fromkeys(["localhost", "127.0.0.1", "::1", socket.gethostname(), *hosts]))
    begin = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)
    end = begin + dt.timedelta(days=days)

    def build(subject: str, issuer: str, public_key: Any) -> Any:
        def name(text: str) -> Any:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(issuer))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
        )

    def usage(**on: bool) -> Any:
        off = dict.fromkeys(
            (
                "digital_signature",
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "key_cert_sign",
                "crl_sign",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        return x509.KeyUsage(**{**off, **on})

    ca_name = f"SAGE authority of {socket.gethostname()}"[:64]
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        build(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        build("SAGE server", ca_name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_alternative(x509, each) for each in names]),
            critical=False,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    ensure_dir(files.ca.parent)
    pem = serialization.Encoding.PEM
    write_secret(
        files.key,
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    write_secret(files.certificate, certificate.public_bytes(pem) + ca.public_bytes(pem))
    write_secret(files.ca, ca.public_bytes(pem))
    return files


def show(path: str | os.PathLike[str]) -> CertificateInfo:
    """What the first certificate of a PEM file says.

    Raises:
        NotFoundError: There is no such file.
        ConfigError: It holds no certificate.
        MissingExtraError: ``cryptography`` is not installed.
    """
    _, hashes, _, _ = _cryptography()
    certificate = _load(Path(path))[0]
    left = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
    return CertificateInfo(
        path=str(path),
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        hosts=_hosts(certificate),
        serial=format(certificate.serial_number, "x"),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        not_before=certificate.not_valid_before_utc.isoformat(),
        not_after=certificate.not_valid_after_utc.isoformat(),
        days_left=left.days,
        authority=_is_authority(certificate),
    )


def verify(files: CertificateFiles | None = None, *, host: str | None = None) -> list[str]:
    """What is wrong with a certificate, in words; empty when clients will accept it.

    Args:
        files: The files; default: those of ``default_folder()``.
        host: Name or address that clients call the server by; ``None``: not checked.

    Raises:
        NotFoundError: A file is not there.
        ConfigError: A file holds something else.
        MissingExtraError: ``cryptography`` is not installed.
    """
    _, _, serialization, _ = _cryptography()
    from cryptography.exceptions import InvalidSignature

    given = files_in() if files is None else files
    certificate, authority = _load(given.certificate)[0], _load(given.ca)[0]
    problems = []
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        problems.append(f"{given.certificate} was not signed by {given.ca}")
    if not _is_authority(authority):
        problems.append(f"{given.ca} is no authority")
    now = dt.datetime.now(dt.UTC)
    for path, each in ((given.certificate, certificate), (given.ca, authority)):
        if now < each.not_valid_before_utc:
            problems.append(f"{path} is not valid before {each.not_valid_before_utc:%Y-%m-%d}")
        left = (each.not_valid_after_utc - now).days
        if left < 0:
            problems.append(f"{path} ended on {each.not_valid_after_utc:%Y-%m-%d}")
        elif left < _SOON_DAYS:
            problems.append(f"{path} ends in {left} days; make a new one")
    try:
        key = serialization.load_pem_private_key(_read(given.key), None)
    except (ValueError, TypeError) as exc:
        raise ConfigError(f"{given.key} holds no private key without a password: {exc}") from exc
    public = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*public) != certificate.public_key().public_bytes(*public):
        problems.append(f"{given.key} is not the key of {given.certificate}")
    if given.key.stat().st_mode & 0o077:
        problems.append(f"{given.key} can be read by others; chmod 600 it")
    if host is not None and not _is_for(certificate, host):
        problems.append(
            f"{given.certificate} is not for {host!r} but for {', '.join(_hosts(certificate))}"
        )
    return problems


def _cryptography() -> tuple[Any, Any, Any, Any]:
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as exc:
        raise MissingExtraError("cryptography", "server", "making certificates") from exc
    return x509, hashes, serialization, ec


def _alternative(x509: Any, host: str) -> Any:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    labels = host.removeprefix("*.").split(".")
    if not host.isascii() or not all(
        label.replace("-", "").isalnum() and len(label) <= 63 for label in labels
    ):
        raise ConfigError(f"{host!r} is neither a host name nor an address")
    return x509.DNSName(host)


def _hosts(certificate: Any) -> tuple[str, ...]:
    x509 = _cryptography()[0]
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(each.value) for each in found.value)


def _is_for(certificate: Any, host: str) -> bool:
    wanted = host.strip("[]").lower()
    names = [each.lower() for each in _hosts(certificate)]
    return wanted in names or f"*.{wanted.partition('.')[2]}" in names


def _is_authority(certificate: Any) -> bool:
    x509 = _cryptography()[0]
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return bool(found.value.ca)


def _load(path: Path) -> Any:
    x509 = _cryptography()[0]
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError as exc:
        raise ConfigError(f"{path} holds no certificate: {exc}") from exc


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(
            f"{path}: no such file; make certificates with: sage ssl-cert generate"
        ) from None
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc
