"""Settings of the JobManager: the section ``jobmanager`` of the settings files.

Predecessor: ``sage.common.config``; successor: ``sage.kernel.jobmanager.daemon``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from sage.common.config import structure_config
from sage.common.config.settings import load_settings
from sage.common.paths import data_dir
from sage.kernel.checkpoint.settings import Restart

DEFAULT_PORT = 19001

_at_least_one: Any = attrs.validators.ge(1)
_positive: Any = attrs.validators.gt(0)


@attrs.frozen(kw_only=True)
class JobManagerSettings:
    """How a JobManager runs.

    Attributes:
        host, port: Where it listens; port 0 takes any free one.
        data_dir: Its folder; default: ``jobmanager`` in SAGE's data folder.
        hosts: Further names that clients may call it by.
        certfile, keyfile: PEM files for TLS, e.g. of ``sage ssl-cert generate``.
        allow_plaintext: Listen on another than a loopback address without TLS.
        allow_code: Accept programs, functions by value, and allowlists of clients; without it only
            pipelines of registered operators and of ``allow``.
        allow: Modules that every pipeline file may name.
        max_jobs: Job processes that run at the same time.
        max_waiting: Jobs that may wait for a place.
        max_upload: Bytes of a request, e.g. of an archive.
        log_bytes, log_files: Size at which a log is rotated, and old files that are kept.
        metrics_interval: Seconds between two samples of the metrics of a job.
        metrics_full: Seconds for which all samples are kept; older ones one per minute.
        keep_days: Days after which ended jobs, their metrics and unused archives are removed.
        cancel_timeout: Seconds a job has to end by itself before its process is killed.
        restart: What to do when a job's process dies; ``none`` fails the job.
        mounts: Applications of other packages, name -> their settings: ``{"memory": {}}``.
    """

    host: str = "127.0.0.1"
    port: int = attrs.field(
        default=DEFAULT_PORT, validator=[attrs.validators.ge(0), attrs.validators.le(65535)]
    )
    data_dir: Path = attrs.field(factory=lambda: data_dir() / "jobmanager")
    hosts: tuple[str, ...] = ()
    certfile: Path | None = None
    keyfile: Path | None = None
    allow_plaintext: bool = False
    allow_code: bool = True
    allow: tuple[str, ...] = ()
    max_jobs: int = attrs.field(default=4, validator=_at_least_one)
    max_waiting: int = attrs.field(default=1000, validator=_at_least_one)
    max_upload: int = attrs.field(default=64 * 1024 * 1024, validator=_at_least_one)
    log_bytes: int = attrs.field(default=10 * 1024 * 1024, validator=attrs.validators.ge(1024))
    log_files: int = attrs.field(default=5, validator=_at_least_one)
    metrics_interval: float = attrs.field(default=2.0, validator=_positive)
    metrics_full: float = attrs.field(default=3600.0, validator=_positive)
    keep_days: float = attrs.field(default=30.0, validator=_positive)
    cancel_timeout: float = attrs.field(default=10.0, validator=_positive)
    restart: Restart = attrs.field(
        factory=lambda: Restart(strategy="exponential", attempts=5, delay=1.0)
    )
    mounts: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)


def jobmanager_settings(overrides: Mapping[str, Any] | None = None) -> JobManagerSettings:
    """The settings of the user, the project and the environment, with ``overrides`` on top.

    Args:
        overrides: Keys of the section ``jobmanager``; ``None`` values are left out.

    Raises:
        ConfigError: A key is unknown or a value is wrong; names file and key.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    settings = load_settings(overrides={"jobmanager": given} if given else None)
    made: JobManagerSettings = structure_config(
        settings.get("jobmanager"), JobManagerSettings, name="jobmanager"
    )
    return attrs.evolve(made, data_dir=made.data_dir.expanduser().absolute())
