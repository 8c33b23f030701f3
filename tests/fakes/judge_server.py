"""A chat-completions server on loopback that plays a judge: answers as a script says, and keeps what it was sent.

with JudgeServer(prefers_longer) as server:
    ...                                   # base_url=server.url
    server.requests                       # [{"path": "/v1/chat/completions", "authorization": "...", "body": {...}}]
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# What to do about a question: the assistant's words, or a status, headers and a body.
Said = str | tuple[int, dict[str, str], bytes]
Script = Callable[[dict[str, Any]], Said]


def question_of(body: dict[str, Any]) -> dict[str, str]:
    """What is to be judged: {"question", "answer_a", "answer_b"}."""
    found: dict[str, str] = json.loads(body["messages"][-1]["content"])
    return found


def prefers_longer(body: dict[str, Any]) -> Said:
    """A judge that does not look at places."""
    asked = question_of(body)
    first, second = len(asked["answer_a"]), len(asked["answer_b"])
    return json.dumps({"winner": "A" if first > second else "B" if second > first else "tie"})


class JudgeServer:
    """Listens from `with` on."""

    def __init__(self, script: Script = prefers_longer) -> None:
        self.script = script
        self.requests: list[dict[str, Any]] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> "JudgeServer":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, path: str, authorization: str | None, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        self.requests.append({"path": path, "authorization": authorization, "body": body})
        said = self.script(body)
        if not isinstance(said, str):
            return said
        completion = {
            "choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105},
        }
        return 200, {"Content-Type": "application/json"}, json.dumps(completion).encode()


def _handler(server: JudgeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            if not sent:  # whoever asked has gone
                return
            status, headers, content = server.answer(self.path, self.headers.get("Authorization"), json.loads(sent))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: object) -> None:
            pass

    return Handler
