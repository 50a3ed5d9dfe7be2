"""Which JobManager is spoken to, and with which token, where the caller does not say.

Predecessors: the commands and ``RemoteEnvironment``; successor: ``sage.kernel.jobmanager.client``.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from sage.common.config import structure_config
from sage.common.config.settings import load_settings
from sage.common.secrets import Secret
from sage.kernel.jobmanager.client import DEFAULT_ADDRESS, JobManagerClient
from sage.kernel.jobmanager.launch import client_here
from sage.kernel.jobmanager.transport import TOKEN_VARIABLE, base_url

ADDRESS_VARIABLE = "SAGE_JOBMANAGER_ADDRESS"


@attrs.frozen(kw_only=True)
class RemoteSettings:
    """The section ``remote`` of the settings: the JobManager that clients speak to.

    Attributes:
        address: ``host:port`` or a URL.
        token: Its token, best as a reference: ``env:NAME``, ``file:PATH``.
        cafile: PEM file of the authority that signed its certificate.
    """

    address: str | None = None
    token: Secret | None = None
    cafile: Path | None = None


def connect(
    address: str | None = None,
    token: str | Secret | None = None,
    *,
    cafile: str | os.PathLike[str] | None = None,
    timeout: float = 30.0,
) -> JobManagerClient:
    """A client of the JobManager that is named by the caller, else a variable, else the settings.

    Where nobody names one it is the one that this user started on this machine, on whatever port.

    Args:
        address: ``host:port`` or a URL; default: ``SAGE_JOBMANAGER_ADDRESS``, else
            ``remote.address``.
        token: Default: ``SAGE_JOBMANAGER_TOKEN``, else ``remote.token``, else the token file of
            this user.
        cafile: Default: ``remote.cafile``.
        timeout: Seconds without a byte from it.

    Raises:
        ConfigError: The address is none, or the section ``remote`` is wrong.
    """
    remote = structure_config(load_settings().get("remote"), RemoteSettings, name="remote")
    named = address or os.environ.get(ADDRESS_VARIABLE)
    if named is None and remote.address is None and token is None and cafile is None:
        here = client_here(timeout=timeout)
        if here is not None:
            return here
    if named and remote.address and base_url(named) != base_url(remote.address):
        remote = RemoteSettings()  # its token is for nobody else
    if token is None and not os.environ.get(TOKEN_VARIABLE):
        token = remote.token
    return JobManagerClient(
        named or remote.address or DEFAULT_ADDRESS,
        token,
        timeout=timeout,
        cafile=remote.cafile if cafile is None else os.fspath(cafile),
    )
