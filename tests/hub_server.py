"""A hub on loopback: real HTTP/1.1, two host names, signed addresses, and faults by script.

``localhost`` is the hub: its API, and ``resolve`` addresses that redirect large files to a signed
address on the other host. ``127.0.0.1`` is the storage, which knows no token.
"""

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, quote

from tests.hub_faults import Fault, Script
from tests.hub_handler import Request, handler_of
from tests.hub_repos import Blob, Repo, new_blob


class HubServer:
    """Serves repositories until the ``with`` block ends.

    Args:
        token: what the hub wants to see; "" for a public hub.
        has_ranges: whether the storage answers a Range with 206.
        lifetime: seconds until a signed address is refused.
        page_size: entries in one page of a listing.
        rate: bytes a second of one connection; None for no limit.
    """

    def __init__(
        self,
        token: str = "",
        has_ranges: bool = True,
        lifetime: float = 3600.0,
        page_size: int = 1000,
        rate: int | None = None,
    ) -> None:
        self.token = token
        self.has_ranges = has_ranges
        self.lifetime = lifetime
        self.page_size = page_size
        self.rate = rate
        self.script = Script()
        self.requests: list[Request] = []
        self.repos: dict[str, Repo] = {}
        self.closing = threading.Event()
        self._secret = secrets.token_hex(8)
        self._blobs: dict[str, Blob] = {}
        self._server = _Server(("127.0.0.1", 0), handler_of(self))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        return f"http://localhost:{self._server.server_address[1]}"

    @property
    def storage(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def commit(self, repo: str, files: dict[str, bytes | Path]) -> str:
        """Make ``files`` the newest state of ``models/OWNER/NAME`` or ``datasets/OWNER/NAME``."""
        blobs = {path: new_blob(content) for path, content in files.items()}
        self._blobs |= {blob.sha256: blob for blob in blobs.values()}
        history = self.repos.setdefault(repo, Repo())
        seed = json.dumps([len(history.commits), sorted((p, b.sha256) for p, b in blobs.items())])
        commit = hashlib.sha1(seed.encode()).hexdigest()
        history.commits[commit] = blobs
        return commit

    def address(self, repo: str, path: str, revision: str = "main") -> str:
        """The ``resolve`` address of a file."""
        prefix = repo.removeprefix("models/")
        return f"{self.endpoint}/{prefix}/resolve/{revision}/{quote(path)}"

    def misbehave(self, lines: Sequence[tuple[str, int, Fault]]) -> None:
        """From now on, follow this script."""
        self.script = Script(lines)

    def signed(self, blob: Blob) -> str:
        """A storage address that is good for ``lifetime`` seconds."""
        until = f"{time.time() + self.lifetime:.3f}"
        return f"{self.storage}/{blob.sha256}?Expires={until}&Signature={self._sign(until)}"

    def stored(self, path: str, query: str) -> Blob | None:
        """The blob behind a signed address; None when it expired or was never signed."""
        fields = parse_qs(query)
        until = fields.get("Expires", ["0"])[0]
        is_signed = fields.get("Signature") == [self._sign(until)]
        return self._blobs.get(path) if is_signed and float(until) > time.time() else None

    def _sign(self, until: str) -> str:
        return hashlib.sha256(f"{self._secret}{until}".encode()).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are what is tested; nothing to say."""
