"""A W&B server on loopback that keeps what the real client sends: runs, their config, and their history.

    with WandbServer() as server:
        ...                                   # base_url=server.url
        server.runs["id"].history             # [{"train/loss": 0.7, "_step": 1, ...}, ...]

It speaks as much of the protocol as a run needs (GraphQL for runs, /files/.../file_stream for history) and answers
anything else with an empty success.
"""

import gzip
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "somebody"


@dataclass
class Run:
    """What came of one run."""

    name: str
    display_name: str = ""
    project: str = ""
    group: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = False
    exit_code: int | None = None


class WandbServer:
    """Listens from `with` on; `stop` closes it for good, in the middle of whatever goes on."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.operations: list[str] = []
        self.keys: set[str] = set()
        self._http = _Quiet(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> "WandbServer":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to one operation."""
        operation = query.split("(")[0].split("{")[0].split()[-1]
        self.operations.append(operation)
        if operation == "UpsertBucket":
            return {"upsertBucket": {"bucket": self._upsert(variables), "inserted": True}}
        if operation == "Viewer":
            return {"viewer": {"id": "1", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}}
        if operation == "RunResumeStatus":
            return {"model": {"bucket": None}}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": variables.get("run", ""), "uploadHeaders": [], "files": files}}
        return {}

    def _upsert(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(variables["name"], Run(variables["name"]))
        run.display_name = variables.get("displayName") or run.display_name
        run.project = variables.get("project") or run.project
        run.group = variables.get("groupName") or run.group
        if variables.get("config"):
            config = json.loads(variables["config"])
            run.config.update({key: entry["value"] for key, entry in config.items() if key != "_wandb"})
        return {
            "id": run.name,
            "name": run.name,
            "displayName": run.display_name,
            "description": "",
            "config": "{}",
            "sweepName": None,
            "historyLineCount": len(run.history),
            "project": {"id": "1", "name": run.project, "entity": {"id": "1", "name": ENTITY}},
        }

    def file_stream(self, name: str, told: dict[str, Any]) -> None:
        """A part of a run's history, or its end."""
        run = self.runs.setdefault(name, Run(name))
        chunk = told.get("files", {}).get("wandb-history.jsonl")
        if chunk:
            run.history[chunk["offset"] :] = [json.loads(line) for line in chunk["content"]]
        run.complete = bool(told.get("complete", run.complete))
        run.exit_code = told.get("exitcode", run.exit_code)


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
                self._answer({"data": server.graphql(told["query"], told.get("variables") or {})})
            elif self.path.endswith("/file_stream"):
                server.file_stream(self.path.split("/")[-2], json.loads(body))
                self._answer({})
            else:
                self._answer({})

        do_PUT = do_POST

        def do_GET(self) -> None:
            self._answer({})

        def _answer(self, value: dict[str, Any]) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Tests are quiet."""

    return Handler
