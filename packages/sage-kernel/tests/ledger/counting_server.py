"""A server that counts what it is asked and charges for it; run as a process of its own."""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    log = Path()
    lock = threading.Lock()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        line = json.dumps({"asked": body["asked"], "key": self.headers.get("Idempotency-Key")})
        with self.lock, self.log.open("a") as file:
            file.write(line + "\n")
        answer = json.dumps(
            {
                "answer": body["asked"] * 2,
                "usage": {"prompt_tokens": 7, "completion_tokens": 3},
                "model": "counted",
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        return


if __name__ == "__main__":
    Handler.log = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
