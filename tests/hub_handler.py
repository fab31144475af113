"""How the hub answers one request: its API, ``resolve`` addresses, the storage, and each fault."""

import gzip
import json
import re
import socket
import struct
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub_faults import Fault
from tests.hub_repos import Blob, listed

if TYPE_CHECKING:
    from tests.hub_server import HubServer

PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@dataclass(frozen=True)
class Request:
    """One request as it came, and the status that it got."""

    host: str
    path: str
    query: str
    range: str
    authorization: str
    accept_encoding: str
    status: int


def handler_of(hub: "HubServer") -> type[BaseHTTPRequestHandler]:
    """The handler of one hub's connections."""
    return type("Handler", (_Handler,), {"hub": hub})


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar["HubServer"]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        is_hub = self.headers.get("Host", "").startswith("localhost")
        self.fault = self.hub.script.next_fault(path)
        kind = self.fault.kind if self.fault else ""
        refuses = kind == "refuse-range" and "Range" in self.headers
        if self.fault and (refuses or kind in ("status", "expired", "web-page")):
            self._answer_fault(self.fault)
        elif not is_hub:
            self._storage(path.removeprefix("/"), parts.query)
        elif self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._answer(401, b"a token is needed")
        elif path.startswith("/api/"):
            self._api(path, parts.query)
        else:
            self._resolve(path)

    do_HEAD = do_GET  # noqa: N815 - without the body, see _write and _stream

    def log_message(self, *arguments: object) -> None:
        pass

    def _api(self, path: str, query: str) -> None:
        found = re.fullmatch(r"/api/((?:models|datasets)/[^/]+/[^/]+)/(revision|tree)/(.+)", path)
        repo = self.hub.repos.get(found[1]) if found else None
        if found is None or repo is None:
            return self._answer(404, b"no such repository")
        commit = repo.head if found[3] == "main" else found[3]
        if commit not in repo.commits:
            return self._answer(404, b"no such revision")
        if found[2] == "revision":
            return self._answer(200, json.dumps({"sha": commit}).encode())
        start = int(parse_qs(query).get("cursor", ["0"])[0])
        entries = listed(repo.commits[commit])
        page = entries[start : start + self.hub.page_size]
        following = start + self.hub.page_size
        headers = {"Content-Type": "application/json"}
        if following < len(entries):
            address = f"{self.hub.endpoint}{path}?recursive=true&cursor={following}"
            headers["Link"] = f'<{address}>; rel="next"'
        return self._answer(200, json.dumps(page).encode(), headers)

    def _resolve(self, path: str) -> None:
        found = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repo = self.hub.repos.get((found[1] or "models/") + found[2]) if found else None
        if found is None or repo is None:
            return self._answer(404, b"no such repository")
        commit = repo.head if found[3] == "main" else found[3]
        blob = repo.commits.get(commit, {}).get(found[4])
        if blob is None:
            return self._answer(404, b"no such file")
        headers = {"X-Repo-Commit": commit}
        if not blob.is_large:
            return self._send_blob(blob, blob.git_sha1, headers)
        headers |= {
            "X-Linked-Etag": f'"{blob.sha256}"',
            "X-Linked-Size": str(blob.size),
            "Location": self.hub.signed(blob),
        }
        return self._answer(302, b"moved", headers)

    def _storage(self, path: str, query: str) -> None:
        blob = self.hub.stored(path, query)
        if "Authorization" in self.headers:
            self._answer(400, b"a token does not belong here")
        elif blob is None:
            self._answer(403, b"the address expired")
        else:
            self._send_blob(blob, blob.sha256[:32], {})

    def _send_blob(self, blob: Blob, etag: str, headers: dict[str, str]) -> None:
        kind = self.fault.kind if self.fault else ""
        if kind == "etag":
            etag = "0" * 32
        start, end, status = 0, blob.size, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range", f'"{etag}"')
        has_ranges = self.hub.has_ranges and kind != "ignore-range"
        if asked and has_ranges and condition == f'"{etag}"':
            start, status = int(asked[1]), 206
            end = min(blob.size, int(asked[2] or blob.size) + 1)
            if start >= blob.size:
                return self._answer(416, b"", {"Content-Range": f"bytes */{blob.size}"})
            shown = start + 1 if kind == "wrong-range" else start
            headers = headers | {"Content-Range": f"bytes {shown}-{end - 1}/{blob.size}"}
        headers = headers | {"ETag": f'"{etag}"', "Content-Type": "application/octet-stream"}
        return self._send(status, headers, blob, start, end)

    def _send(self, status: int, headers: dict[str, str], blob: Blob, start: int, end: int) -> None:
        fault = self.fault
        if fault and fault.kind == "gzip":
            body = gzip.compress(blob.read(start, end), 1)
            return self._answer(status, body, headers | {"Content-Encoding": "gzip"})
        if fault and fault.kind == "more":
            return self._answer(status, blob.read(start, end) + b"more", headers)
        self._begin(status, headers | {"Content-Length": str(end - start)})
        if fault is None or fault.kind not in ("reset", "stall", "truncate", "flip"):
            return self._stream(blob, start, end)
        middle = start + int((end - start - 1) * fault.at)
        self._stream(blob, start, middle)
        if fault.kind == "flip":
            byte = blob.read(middle, middle + 1)
            self._write(bytes(value ^ 1 for value in byte))
            return self._stream(blob, middle + 1, end)
        return self._break_off(fault)

    def _break_off(self, fault: Fault) -> None:
        self.wfile.flush()
        self.close_connection = True
        if fault.kind == "stall":
            self.hub.closing.wait(20)
        if fault.kind == "reset":
            linger = struct.pack("ii", 1, 0)  # closing sends RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()

    def _stream(self, blob: Blob, start: int, end: int) -> None:
        if self.command == "HEAD":
            return
        block = 256 * 1024 if self.hub.rate is None else max(1, min(65536, self.hub.rate // 20))
        if isinstance(blob.content, Path) and self.hub.rate is None:
            with blob.content.open("rb") as file:
                self.wfile.flush()
                if end > start:
                    self.connection.sendfile(file, start, end - start)
            return
        for place in range(start, end, block):
            part = blob.read(place, min(end, place + block))
            self.wfile.write(part)
            if self.hub.rate is not None and self.hub.closing.wait(len(part) / self.hub.rate):
                return

    def _answer_fault(self, fault: Fault) -> None:
        if fault.kind == "web-page":
            return self._answer(200, PAGE, {"Content-Type": "text/html; charset=utf-8"})
        status = 403 if fault.kind in ("expired", "refuse-range") else fault.status
        headers = {"Retry-After": fault.retry_after, "X-Error-Code": fault.error_code}
        return self._answer(status, b"no", {name: text for name, text in headers.items() if text})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._begin(status, {"Content-Length": str(len(body)), **(headers or {})})
        self._write(body)

    def _write(self, body: bytes) -> None:
        if self.command != "HEAD":
            self.wfile.write(body)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        parts = urlsplit(self.path)
        seen = self.headers
        self.hub.requests.append(
            Request(
                seen.get("Host", "").partition(":")[0],
                unquote(parts.path),
                parts.query,
                seen.get("Range", ""),
                seen.get("Authorization", ""),
                seen.get("Accept-Encoding", ""),
                status,
            )
        )
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
