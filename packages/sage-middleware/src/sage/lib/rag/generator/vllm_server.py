"""A vLLM server as a child process, shared by the steps of this process that want the same one.

Successors: ``sage.lib.rag.generator.openai`` and ``sage.lib.rag.generator.vllm``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from sage.common.errors import JobCanceledError, PluginError, ServiceError, UnreachableError

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext

BASE_URL_VARIABLE = "OPENAI_BASE_URL"
POLL = 0.2
"""Seconds between two looks at a server that starts; vLLM tells its parent nothing."""


class VLLMNotInstalledError(PluginError, ImportError):
    """A vLLM server was to be started, and vLLM is not installed. Attribute: ``model_path``."""


@attrs.frozen(kw_only=True)
class VLLMOptions:
    """What a server is started with; two steps with equal options share one.

    Attributes:
        model_path: Directory or name of the model.
        gpu_memory_utilization: Share of the GPU's memory, in (0, 1]; default: vLLM's.
        tensor_parallel_size: GPUs that share the model; default: vLLM's.
        max_model_len: Most tokens of prompt and answer; default: the model's.
        dtype: Number format; default: vLLM's.
        vllm_args: Further arguments of ``vllm serve``.
        startup_timeout: Seconds until the server must answer.
    """

    model_path: str
    gpu_memory_utilization: float | None = None
    tensor_parallel_size: int | None = None
    max_model_len: int | None = None
    dtype: str | None = None
    vllm_args: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    startup_timeout: float = 600.0


class VLLMServer:
    """A running server.

    Attributes:
        url: Base URL, ends in ``/v1``.
        model: The name it serves the model under.
    """

    def __init__(self, options: VLLMOptions) -> None:
        command = _command(options.model_path)
        self._options = options
        self._users = 0
        self._ready = threading.Lock()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"
        self.model = ""
        fd, log = tempfile.mkstemp(prefix="sage-vllm-", suffix=".log")
        self._log = Path(log)
        flags = {
            "--gpu-memory-utilization": options.gpu_memory_utilization,
            "--tensor-parallel-size": options.tensor_parallel_size,
            "--max-model-len": options.max_model_len,
            "--dtype": options.dtype,
        }
        arguments = [
            *command,
            *("--host", "127.0.0.1", "--port", str(port)),
            *(text for flag, v in flags.items() if v is not None for text in (flag, str(v))),
            *options.vllm_args,
        ]
        with os.fdopen(fd, "wb") as output:
            # A session of its own: vLLM starts workers, which must end with it.
            self._process = subprocess.Popen(  # noqa: S603 - the user's own model server
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, stopping: Callable[[], bool]) -> None:
        """Return when the server answers.

        Raises:
            ServiceError: It ended, or the time is over; the message has the end of its log.
            JobCanceledError: The job is being canceled.
        """
        with self._ready:
            deadline = time.monotonic() + self._options.startup_timeout
            while not self.model:
                if self._process.poll() is not None:
                    raise ServiceError(
                        f"vLLM ended with code {self._process.returncode} while it loaded "
                        f"{self._options.model_path!r}: {self._tail()}"
                    )
                if time.monotonic() > deadline:
                    raise ServiceError(
                        f"vLLM did not answer within {self._options.startup_timeout:g} s (raise "
                        f"startup_timeout for a large model): {self._tail()}"
                    )
                if stopping():
                    raise JobCanceledError("canceled while vLLM was starting")
                with contextlib.suppress(UnreachableError):
                    self.model = served_model(self.url, timeout=2)
                    return
                time.sleep(POLL)

    def release(self) -> None:
        """One user fewer; the last one ends the server."""
        with _LOCK:
            self._users -= 1
            if self._users > 0:
                return
            _SERVERS.pop(self._options, None)
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._log.unlink(missing_ok=True)

    def retain(self) -> None:
        """One user more; the caller holds the lock."""
        self._users += 1

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _tail(self) -> str:
        lines = self._log.read_text("utf-8", "replace").splitlines()
        return " | ".join(line for line in lines[-5:] if line.strip()) or "it wrote nothing"


_LOCK = threading.Lock()
_SERVERS: dict[VLLMOptions, VLLMServer] = {}


def vllm_server(
    options: VLLMOptions, base_url: str | None, ctx: RuntimeContext
) -> VLLMServer | None:
    """The server for these options, started if need be; ``None`` when one is configured already.

    Args:
        options: What to serve.
        base_url: A server to use instead; so does the environment variable ``OPENAI_BASE_URL``.
        ctx: Context of the step; canceling its job ends the wait.

    Raises:
        VLLMNotInstalledError: vLLM is not installed.
        ServiceError: It ended or did not get ready in time.
        JobCanceledError: The job was canceled meanwhile.
    """
    if base_url or os.environ.get(BASE_URL_VARIABLE):
        return None
    with _LOCK:
        server = _SERVERS.get(options)
        if server is None:
            server = _SERVERS[options] = VLLMServer(options)
        server.retain()
    try:
        server.wait(lambda: ctx.stopping)
    except BaseException:
        server.release()
        raise
    return server


def served_model(url: str, *, timeout: float = 10.0) -> str:
    """Name of the first model that an OpenAI-compatible server has.

    Args:
        url: Base URL, ends in ``/v1``.
        timeout: Seconds.

    Raises:
        UnreachableError: It does not answer, or names none.
    """
    try:
        # http and https only: the callers check or make the URL.
        with urllib.request.urlopen(f"{url.rstrip('/')}/models", timeout=timeout) as answer:  # noqa: S310
            return str(json.load(answer)["data"][0]["id"])
    except (OSError, urllib.error.URLError, ValueError, LookupError, TypeError) as error:
        raise UnreachableError(
            f"the server {url} does not say which models it has ({error}); set model"
        ) from error


def _command(model_path: str) -> list[str]:
    beside = Path(sys.executable).with_name("vllm")
    found = str(beside) if beside.is_file() else shutil.which("vllm")
    if found:
        return [found, "serve", model_path]
    if importlib.util.find_spec("vllm") is not None:
        module = "vllm.entrypoints.openai.api_server"
        return [sys.executable, "-m", module, "--model", model_path]
    raise VLLMNotInstalledError(
        f"a vLLM server for model_path {model_path!r} cannot be started: the package 'vllm' is not "
        "installed (pip install vllm, on a machine with a GPU); or set base_url (or "
        f"{BASE_URL_VARIABLE}) to a server that runs already, such as http://127.0.0.1:8000/v1",
        model_path=model_path,
    )
