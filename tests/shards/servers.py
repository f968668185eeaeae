"""Real servers on 127.0.0.1 that can be told to fail: a web server with ranges, an S3 API, a proxy that cuts."""

import json
import os
import re
import socket
import socketserver
import struct
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from shards.remote.fetch import fetch_into

CUT, HANG_UP, SHORT = "cut in the middle of the body", "hang up before the answer", "fewer bytes than asked for"
SECRET = "planted-secret-c2hhcmRz"


class WebServer(ThreadingHTTPServer):
    """Serves the files below a folder; `faults` are spent one a GET, a status, CUT, HANG_UP or SHORT."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.faults: deque[int | str | None] = deque()
        self.every: int | str | None = None
        self.ranges, self.slow = True, 0.0
        self.altered: dict[str, bytes] = {}
        self.denied: dict[str, int] = {}
        self.gets: list[tuple[str, int, int]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def starts(self) -> Counter[str]:
        """How often each file was begun to be fetched: GETs of its first byte."""
        return Counter(path for path, start, _ in self.gets if start == 0)

    def content(self, path: str) -> bytes | None:
        file = self.folder / path.lstrip("/")
        return self.altered.get(path) or (file.read_bytes() if file.is_file() else None)

    def handle_error(self, request: object, address: object) -> None:
        """A client that is gone is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebServer

    def do_HEAD(self) -> None:
        content = self.server.content(self.path)
        self._head(self.server.denied.get(self.path) or (404 if content is None else 200), len(content or b""))

    def do_GET(self) -> None:
        with self.server.lock:
            fault = self.server.faults.popleft() if self.server.faults else self.server.every
        fault = self.server.denied.get(self.path) or fault
        content = self.server.content(self.path)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        status, start, end = 200, 0, len(content or b"")
        if asked and self.server.ranges:
            status, start, end = 206, int(asked[1]), min(int(asked[2]) + 1, end)
        if fault == HANG_UP:
            self._hang_up()
        elif content is None or isinstance(fault, int):
            self._head(fault if isinstance(fault, int) else 404, 0)
        else:
            self.server.gets.append((self.path, start, end))
            self._body(status, content[start : end - 1 if fault == SHORT else end], fault == CUT)

    def _body(self, status: int, body: bytes, cut: bool) -> None:
        self._head(status, len(body))
        for begin in range(0, len(body), 1 << 16):
            if cut and begin >= len(body) // 2:
                break
            self.wfile.write(body[begin : min(begin + (1 << 16), len(body) // 2 if cut else len(body))])
            if self.server.slow:
                threading.Event().wait(self.server.slow)
        if cut:
            self._hang_up()

    def _head(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _hang_up(self) -> None:
        with suppress(OSError):
            self.wfile.flush()
        reset(self.connection)
        self.close_connection = True

    def log_message(self, *words: object) -> None:
        """Quiet."""


@contextmanager
def web(folder: Path, kind: type[WebServer] = WebServer) -> Iterator[WebServer]:
    """A running web server."""
    server = kind(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class CuttingProxy(socketserver.ThreadingTCPServer):
    """Hands bytes on to a server; each connection gives the next of `budgets` bytes back, then breaks (None: never)."""

    daemon_threads, allow_reuse_address = True, True

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.target, self.budgets, self.cuts = target, deque[int | None](), 0

    def handle_error(self, request: object, address: object) -> None:
        """A client that is gone is no fault of the proxy's."""


class _Tunnel(socketserver.BaseRequestHandler):
    server: CuttingProxy

    def handle(self) -> None:
        budget = self.server.budgets.popleft() if self.server.budgets else None
        with socket.create_connection(self.server.target) as upstream:
            threading.Thread(target=_pump, args=(self.request, upstream), daemon=True).start()
            with suppress(OSError):
                while data := upstream.recv(1 << 16):
                    if budget is not None and len(data) > budget:
                        self.request.sendall(data[:budget])
                        self.server.cuts += 1
                        reset(self.request)
                        return
                    budget = None if budget is None else budget - len(data)
                    self.request.sendall(data)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def reset(connection: socket.socket) -> None:
    """Breaks a connection as a failing network does."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()


@contextmanager
def s3(objects: Mapping[str, Path]) -> Iterator[tuple[CuttingProxy, dict[str, str]]]:
    """An S3 API that holds `corpus/<name>`, behind a proxy that can cut; and the environment by which it is reached."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    proxy = CuttingProxy((host, port))
    threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_address[1]}",
        "AWS_ACCESS_KEY_ID": "planted-name",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        _fill(f"http://{host}:{port}", objects)
        yield proxy, environment
    finally:
        proxy.shutdown()
        proxy.server_close()
        server.stop()


def _fill(endpoint: str, objects: Mapping[str, Path]) -> None:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="planted-name",
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="corpus")
    for name, path in objects.items():
        client.upload_file(str(path), "corpus", name)


class BucketServer(WebServer):
    """The part of Google's JSON API that reading needs: an object's description, and its bytes."""

    def content(self, path: str) -> bytes | None:
        """`/storage/v1/b/corpus/o/NAME` describes a file of the folder, `/download/storage/…` is it."""
        name = unquote(urlsplit(path).path.rpartition("/o/")[2])
        found = super().content(name)
        if found is None or path.startswith("/download/"):
            return found
        return json.dumps({"name": name, "bucket": "corpus", "size": str(len(found)), "generation": "1"}).encode()


def tree(folder: Path) -> dict[str, Path]:
    """The files below a folder by their relative names."""
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def fetch_file(url: str, path: Path, size: int, sha256: str, tries: int) -> None:
    """Writes the file behind a URL to `path`, or leaves nothing there."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fetch_into(url, descriptor, size, sha256, tries)
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(descriptor)
