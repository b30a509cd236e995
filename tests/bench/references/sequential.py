"""One model after the other, with nothing but the standard library: the simplest there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.bench.references.serving import (
    BACKLOG,
    complete,
    event,
    provider_address,
    question_to,
)


class Handler(BaseHTTPRequestHandler):
    """One client's connection, in a thread of its own."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for data in events(question["models"], question["input_data"]):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # its name there
        """Write no log: the others do not either."""


class Server(ThreadingHTTPServer):
    request_queue_size = BACKLOG
    daemon_threads = True


def events(models: list[str], text: str) -> Iterator[bytes]:
    """All events of a comparison; every model is said to have started before the first is asked."""
    for model in models:
        yield event(model=model, type="start")
    for model in models:
        connection = HTTPConnection(*provider_address())
        connection.request("POST", "/v1/chat/completions", json.dumps(question_to(model, text)))
        for line in connection.getresponse():
            if line.startswith(b"data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    if content := choice["delta"].get("content"):
                        yield event(model=model, type="chunk", content=content)
        connection.close()
        yield event(model=model, type="done", error=False)
    yield complete(models, text)


if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Handler) as server:
        print(server.server_port, flush=True)
        server.serve_forever()
