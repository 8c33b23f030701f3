"""A W&B server on loopback that keeps what the real client sends, and gives it back: runs, history, files.

    with WandbServer() as server:
        ...                                   # base_url=server.url
        server.runs["id"].history             # [{"train/loss": 0.7, "_step": 1, ...}, ...]
        server.fail(429, times=2, operation="Runs")

It speaks as much of the protocol as a run and `wandb.Api` need (GraphQL, /files/.../file_stream, uploads, downloads)
and answers anything else with an empty success.
"""

import gzip
import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.fakes.wandb_graphql import ENTITY, Backend, Run, operation_of

__all__ = ["ENTITY", "Run", "WandbServer"]


@dataclass
class _Fault:
    """How some of the next requests fail: those of an operation, of files up ("upload") or down ("files"), or any."""

    status: int
    times: int
    operation: str | None


class WandbServer:
    """Listens from `with` on; `stop` closes it for good, in the middle of whatever goes on."""

    def __init__(self) -> None:
        self.backend = Backend()
        self.keys: set[str] = set()
        # Of every request: when, and which.
        self.requests: list[tuple[float, str]] = []
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()
        self._http = _Quiet(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self.backend.url = self.url

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def runs(self) -> dict[str, Run]:
        return self.backend.runs

    @property
    def operations(self) -> list[str]:
        return self.backend.operations

    def __enter__(self) -> "WandbServer":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def fail(self, status: int, times: int = 1, operation: str | None = None) -> None:
        """Answer so many of the next requests, of one operation or of any, with an error."""
        self._faults.append(_Fault(status, times, operation))

    def calm(self) -> None:
        """Fail no more."""
        self._faults.clear()

    def fault(self, what: str) -> int | None:
        """The error that this request is to get, if any."""
        with self._lock:
            self.requests.append((time.monotonic(), what))
            for fault in self._faults:
                if fault.times and fault.operation in (None, what):
                    fault.times -= 1
                    return fault.status
        return None

    def file_stream(self, name: str, told: dict[str, Any]) -> None:
        """A part of a run's history, its summary, or its end."""
        run = self.backend.run(name)
        run.heartbeat += 1
        files = told.get("files") or {}
        if chunk := files.get("wandb-history.jsonl"):
            run.lines[chunk["offset"] :] = chunk["content"]
        if chunk := files.get("wandb-summary.json"):
            run.summary = json.loads(chunk["content"][-1])
        run.complete = bool(told.get("complete", run.complete))
        run.exit_code = told.get("exitcode", run.exit_code)

    def download(self, path: str) -> bytes | None:
        """A file of a run, or its exported history."""
        match unquote(path).strip("/").split("/"):
            case ["parquet", name]:
                return self.backend.exported(name.removesuffix(".parquet"))
            case ["files", _, _, run, *name]:
                return self.runs[run].files.get("/".join(name))
        return None


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is killed hangs up in the middle; that is what some tests do."""


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            server.keys.add(self.headers.get("Authorization") or "")
            if self.path.endswith("/graphql"):
                told = json.loads(body)
                if not self._failed(operation_of(told["query"])):
                    data = server.backend.answer(told["query"], told.get("variables") or {})
                    self._answer(json.dumps({"data": data}).encode())
            elif self.path.endswith("/file_stream"):
                if not self._failed("file_stream"):
                    server.file_stream(self.path.split("/")[-2], json.loads(body))
                    self._answer(b"{}")
            else:
                self._answer(b"{}")

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self._failed("upload"):
                return
            match unquote(urlsplit(self.path).path).strip("/").split("/"):
                case ["upload", run, *name]:
                    server.backend.run(run).files["/".join(name)] = body
            self._answer(b"{}")

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if self._failed("files"):
                return
            content = server.download(path)
            self._answer(b"{}" if content is None else content)

        def do_HEAD(self) -> None:
            self._answer(b"")

        def _failed(self, what: str) -> bool:
            status = server.fault(what)
            if status is not None:
                self._answer(b'{"errors": [{"message": "not now"}]}', status)
            return status is not None

        def _answer(self, body: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Tests are quiet."""

    return Handler
