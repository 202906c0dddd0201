"""The part of the hub's protocol that a download uses, over real HTTP: slow, cut off, refusing."""

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class HubServer:
    """What it has, and how it behaves; see `serving`."""

    #: (repository, file) -> content.
    files: dict[tuple[str, str], bytes]
    requests: list[tuple[str, str]] = field(default_factory=list)
    #: Served instead of the content, while the checksum stays that of the content.
    damage: bytes | None = None
    #: The next bodies that are longer end after so many bytes.
    cuts: list[int] = field(default_factory=list)
    #: Answered in place of anything: a status, and the hub's own code for it.
    refusal: tuple[int, str] | None = None
    #: Sent in pieces of so many bytes, with this pause after each.
    pace: tuple[int, float] | None = None
    url: str = ""

    def handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def _answer(self, *, with_body: bool) -> None:
                server.requests.append((self.command, self.path))
                if server.refusal is not None:
                    self._refuse(*server.refusal)
                    return
                found = re.fullmatch(r"/(.+/.+)/resolve/([^/]+)/(.+)", self.path)
                body = server.files.get((found[1], found[3])) if found else None
                if body is None:
                    known = found and any(repo == found[1] for repo, _ in server.files)
                    self._refuse(404, "EntryNotFound" if known else "RepoNotFound")
                    return
                self._send(body, with_body=with_body)

            def _refuse(self, status: int, code: str) -> None:
                self.send_response(status)
                self.send_header("X-Error-Code", code)
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def _send(self, body: bytes, *, with_body: bool) -> None:
                etag = hashlib.sha256(body).hexdigest()
                content = server.damage or body
                span = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
                start = int(span[1]) if span else 0
                self.send_response(206 if span else 200)
                self.send_header("ETag", f'"{etag}"')
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(content) - start))
                if span:
                    total = len(content)
                    self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
                self.end_headers()
                if not with_body:
                    return
                if server.cuts and len(content) > server.cuts[0]:
                    content = content[: server.cuts.pop(0)]
                    self.close_connection = True
                num_bytes, pause_s = server.pace or (len(content) or 1, 0.0)
                for each in range(start, len(content), num_bytes):
                    self.wfile.write(content[each : each + num_bytes])
                    time.sleep(pause_s)

        return Handler


@contextmanager
def serving(files: dict[tuple[str, str], bytes]) -> Iterator[HubServer]:
    """Serve files on a free port, by repository and name."""
    hub = HubServer(files)
    http = ThreadingHTTPServer(("127.0.0.1", 0), hub.handler())
    http.daemon_threads = True  # who is slow does not hold up the end
    hub.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), name="hub")
    thread.start()
    try:
        yield hub
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
