"""A proxy on loopback between a client and the API server, which fails as it is told.

The client talks plain HTTP to it, without credentials; it talks TLS with a token to the API server.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fleet.sandbox.api import Endpoint

HOP_HEADERS = {"connection", "transfer-encoding", "content-length", "host", "authorization"}


@dataclass
class Fault:
    """What happens to the next `times` requests that match, instead of (or before) reaching the API server."""

    method: str
    path: str
    status: int = 0
    reason: str = ""
    message: str = "injected"
    headers: dict[str, str] = field(default_factory=dict)
    reset: bool = False
    delay_s: float = 0.0
    times: int = 1


@dataclass
class Proxy:
    """A running proxy: its address, the faults that are left, and the requests that it saw.

    `weather` gives the fault of any other request, or none.
    """

    url: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    weather: Callable[[], Fault | None] | None = None

    def fail(self, method: str, path: str, **how: Any) -> None:
        """Add a fault for requests whose method is equal and whose path matches the expression."""
        self.faults.append(Fault(method, path, **how))

    def seen(self, method: str, path: str) -> int:
        """Return how many requests matched so far."""
        return sum(1 for line in self.requests if re.fullmatch(f"{method} .*{path}.*", line))

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault for a request, used up by one."""
        with self.lock:
            self.requests.append(f"{method} {path}")
            for fault in self.faults:
                if fault.times and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
            return None if self.weather is None else self.weather()

    def kubeconfig(self, folder: Path) -> str:
        """Return the path of a kubeconfig for the proxy."""
        config = {
            "current-context": "faulty",
            "clusters": [{"name": "faulty", "cluster": {"server": self.url}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "faulty", "context": {"cluster": "faulty", "user": "nobody"}}],
        }
        path = folder / "faulty.json"
        path.write_text(json.dumps(config))
        return str(path)


@contextmanager
def proxy(endpoint: Endpoint) -> Iterator[Proxy]:
    """Run a proxy to the API server until the block ends."""
    parts = urlsplit(endpoint.url)
    context = ssl.create_default_context(cafile=str(endpoint.authority))
    shared: list[Proxy] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = shared[0].take(self.command, self.path)
            if fault is not None:
                time.sleep(fault.delay_s)
                if fault.reset:
                    # Without lingering, closing sends a reset.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    self.close_connection = True
                    return
                if fault.status:
                    self.refuse(fault)
                    return
            headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_HEADERS}
            headers["Authorization"] = f"Bearer {endpoint.token}"
            upstream: HTTPConnection = HTTPSConnection(parts.hostname or "", parts.port, context=context)
            try:
                upstream.request(self.command, self.path, body or None, headers)
                answer = upstream.getresponse()
                content = answer.read()
            except OSError:
                # The server is down: so is this connection.
                self.close_connection = True
                return
            finally:
                upstream.close()
            with suppress(OSError):  # a client that timed out is no longer there
                self.send_response(answer.status)
                for key, value in answer.getheaders():
                    if key.lower() not in HOP_HEADERS:
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def refuse(self, fault: Fault) -> None:
            status = {
                "kind": "Status",
                "message": fault.message,
                "reason": fault.reason,
                "code": fault.status,
            }
            content = json.dumps(status).encode()
            self.send_response(fault.status)
            for key, value in fault.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PATCH = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815  # the names that the base class looks up

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running = Proxy(f"http://127.0.0.1:{server.server_port}")
    shared.append(running)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
