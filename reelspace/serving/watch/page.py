"""Tells over HTTP what a watcher knows: /metrics for Prometheus, /livez for who may restart Triton, /readyz for who sends requests."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from reelspace.core.errors import UserError
from reelspace.serving.watch.tally import Tally


@contextmanager
def telling(tally: Tally, host: str, port: int) -> Iterator[int]:
    """Answer on a port until the context ends; 0 takes a free one. Gives the port; UserError if it cannot be listened on."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, tally.text(), "text/plain; version=0.0.4")
            elif self.path == "/livez":
                self._probed("repairs do not help", sorted(tally.given_up))
            elif self.path == "/readyz":
                self._probed("no answer of", tally.unready)
            else:
                self._answer(404, "expected /metrics, /livez or /readyz\n", "text/plain")

        def _probed(self, what: str, models: Sequence[str]) -> None:
            self._answer(503 if models else 200, f"{what} {', '.join(models)}\n" if models else "", "text/plain")

        def _answer(self, status: int, text: str, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None: ...  # whoever asked has gone

    try:
        server = Server((host, port), Page)
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another port, 0 takes a free one") from error
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
