"""A job whose ledger cannot be written from its 100th item on, as on a full disk."""

from __future__ import annotations

import resource
import signal
import sys
import threading

from sage.api import LocalEnvironment, MapFunction


class Ask(MapFunction):
    def execute(self, item):
        return self.ctx.call(str, item) if item < 100 or sys.argv[2] == "call" else item


def numbers():
    for number in range(1000):
        if number == 100:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
        yield number


signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
env = LocalEnvironment("full", {"fault_tolerance": {"store": sys.argv[1], "interval": 3600}})
env.from_source(numbers).map(Ask).sink(lambda item: None)
job = env.submit()
try:
    job.wait(60)
except Exception as error:
    print(type(error).__name__, error)
print(job.status, "sage-ledger" in [thread.name for thread in threading.enumerate()])
