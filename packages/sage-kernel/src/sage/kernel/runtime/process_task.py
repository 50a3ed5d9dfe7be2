"""A step in worker processes: one dispatcher thread per process, chunks of items per message."""

from __future__ import annotations

from typing import Any

from sage.common.errors import JobCanceledError
from sage.kernel.graph.model import Node
from sage.kernel.runtime.binding import Functions
from sage.kernel.runtime.channel import ChannelAborted
from sage.kernel.runtime.failure import FailureHandler, TaskAbort, task_failed
from sage.kernel.runtime.pooled_task import BatchWorker, CountingTask, Worker
from sage.kernel.runtime.process import MESSAGE_ITEMS, ProcessPool

_POOL_KINDS = {"filter": "filter", "flatmap": "flatmap"}


class ProcessTask(CountingTask):
    """See the module."""

    def prepare(self) -> None:
        super().prepare()
        node = self.segment.nodes[0]
        self.pool = ProcessPool(
            node.specs[0],
            workers=self.segment.width,
            kind=_POOL_KINDS.get(node.kind, "map"),
            operator=node.name,
            uid=node.uid,
            job_id=self.job.id,
            job_name=self.job.name,
            config=self.job.config,
            recorded=self.job.recording is not None,
        )

    def workers_here(self) -> int:
        return 1

    def run(self) -> None:
        try:
            self.pool.start()
            super().run()
        except JobCanceledError as error:
            raise ChannelAborted from error
        finally:
            try:
                self.pool.close()
            except JobCanceledError:
                pass
            except Exception as error:  # noqa: BLE001 - the task boundary
                self.job.closing_failed(
                    task_failed(self.job.name, self.segment.nodes[0], None, "close()", error)
                )

    def abort(self) -> None:
        super().abort()
        self.pool.cancel()

    def make_worker(self, functions: Functions, handler: FailureHandler, nth: int) -> Worker:
        return ProcessWorker(self, functions, handler, nth, self.pool)

    def batch_limits(self) -> tuple[int, float | None]:
        options = self.segment.nodes[0].options
        return min(options.batch_size or self._most, MESSAGE_ITEMS), options.linger


class ProcessWorker(BatchWorker):
    """Dispatches to one process. On this side only the fallback of the step is opened."""

    def __init__(
        self,
        task: CountingTask,
        functions: Functions,
        handler: FailureHandler,
        nth: int,
        pool: ProcessPool,
    ) -> None:
        super().__init__(task, functions, handler)
        self._nth = nth
        self._pool = pool

    def open(self) -> None:
        if self._nth == 0:
            self.functions.open(fallbacks_only=True)

    def close(self) -> None:
        if self._nth == 0:
            super().close()

    def call(self, items: list[Any]) -> list[tuple[bool, Any]]:
        node: Node = self.node
        try:
            return self._pool.call(self._nth, items, node.options.timeout)
        except JobCanceledError as error:
            raise ChannelAborted from error
        except Exception as error:
            raise TaskAbort(task_failed(self.task.job.name, node, None, items[0], error)) from error
