"""A pipeline that pays per item; killed and started again by ``test_crash``."""

from __future__ import annotations

import http.client
import json
import sys
from pathlib import Path
from typing import Any

from sage.api import LocalEnvironment
from sage.api.calls import CallInfo
from sage.api.functions import MapFunction, SinkFunction

ITEMS = 60
INFO = CallInfo(kind="model", provider="server", model="counted", key_argument="key")


class Ask(MapFunction[int, dict[str, Any]]):
    def post(self, asked: int, key: str | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.config["port"])
        headers = {"Idempotency-Key": key or ""}
        connection.request("POST", "/", json.dumps({"asked": asked}), headers)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def execute(self, item: int) -> dict[str, Any]:
        first = self.ctx.call(self.post, item, call_info=INFO)
        second = self.ctx.call(self.post, first["answer"] + 1_000_000, call_info=INFO)
        return {"item": item, "answer": second["answer"], "at": self.ctx.now()}


class Lines(SinkFunction[Any]):
    path_keys = ("file_path",)

    def open(self, ctx: Any) -> None:
        self.file = Path(self.config["file_path"]).open("w")  # noqa: SIM115 - closed in close()

    def execute(self, item: Any) -> None:
        self.file.write(json.dumps(item) + "\n")
        self.file.flush()
        print(item["item"], flush=True)

    def close(self) -> None:
        self.file.close()


def build(store: str, port: int, width: int) -> LocalEnvironment:
    env = LocalEnvironment("crashing", {"fault_tolerance": {"store": store, "interval": None}})
    stream = env.from_collection(range(ITEMS)).map(Ask, {"port": port}, parallelism=width)
    stream.sink(Lines, {"file_path": f"{store}/out.jsonl"})
    return env


if __name__ == "__main__":
    build(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])).submit().wait()
