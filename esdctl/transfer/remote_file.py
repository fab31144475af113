"""One file at a server: its size and digests, its address of the moment, and its bytes, checked."""

import re
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

import httpx

from esdctl.errors import NetworkError
from esdctl.transfer.client import Answer, Expired, Http, OutOfRange, shown_address
from esdctl.transfer.retry import Transient

MAX_REFUSALS = 2  # with 403; some content networks refuse every Range so, whatever the address
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class SourceChanged(Exception):
    """The server has another file now than the one that the transfer began with."""


class NoRanges(Exception):
    """The server ignores Range; the file has to be read from its beginning."""


@dataclass(frozen=True)
class Facts:
    """What the server's first answer tells about a file.

    Args:
        size: in bytes.
        etag: of the host that stores it; "" when it has none.
        sha256: as the hub tells it; "" when unknown.
        revision: the commit, else the digest, else the ETag; "" when the server has none of them.
        has_ranges: whether byte ranges can be asked for.
    """

    size: int
    etag: str = ""
    sha256: str = ""
    revision: str = ""
    has_ranges: bool = True


def probe_file(http: Http, url: str) -> Facts:
    """Ask for the first byte, and learn the file's size, digests and whether ranges work.

    Raises:
        NetworkError: the server gives no file of known length, a web page, or nothing.
    """
    refusals = 0

    def attempt() -> Facts:
        nonlocal refusals
        try:
            headers = {} if refusals >= MAX_REFUSALS else {"Range": "bytes=0-0"}
            return _probe(http, url, headers)
        except Expired:
            refusals += 1
            raise
        except OutOfRange as fault:
            raise NetworkError(f"{fault.address}: the file is empty") from fault

    return http.retrying(attempt)


class RemoteFile:
    """Reads byte ranges of one file; may be used by several threads.

    Args:
        http: the transfer's client.
        url: where the file is asked for; it may redirect to a signed address, which is
            remembered until it expires.
        facts: what is known; each answer is held against it.
    """

    def __init__(self, http: Http, url: str, facts: Facts) -> None:
        self.size = facts.size
        self._http = http
        self._url = pinned(url, facts.revision)
        self._facts = facts
        self._etag = facts.etag
        self._lock = threading.Lock()
        self._signed: tuple[str, float] | None = None  # address, and until when it is good

    def read(self, start: int, end: int) -> Generator[bytes, None, None]:
        """Read the bytes from ``start`` up to ``end``, across faults, without a gap or a repeat.

        Raises:
            NetworkError: the retry budget is spent, or the server refuses for good.
            NoRanges: the server answers with the whole file.
            SourceChanged: the server has another file now.
        """
        position, refusals = start, 0
        while position < end:
            self._http.budget.pace()
            began = time.monotonic()
            try:
                with closing(self._once(position, end)) as chunks:
                    for chunk in chunks:
                        position += len(chunk)
                        yield chunk
            except Transient as failure:
                refusals = refusals + 1 if isinstance(failure, Expired) else 0
                if refusals > MAX_REFUSALS:
                    raise NoRanges(failure.address) from failure
                self._http.budget.spend(failure, began)
        self._http.budget.made_progress()

    def read_from_start(self, restart: Callable[[], None]) -> Generator[bytes, None, None]:
        """Read the whole file in one stream; after a fault it begins again.

        Args:
            restart: called before each try; what came before is void.
        """
        while True:
            self._http.budget.pace()
            began = time.monotonic()
            restart()
            try:
                with closing(self._once(0, self.size)) as chunks:
                    yield from chunks
            except Transient as failure:
                self._http.budget.spend(failure, began)
            else:
                self._http.budget.made_progress()
                return

    def _once(self, start: int, end: int) -> Generator[bytes, None, None]:
        """The bytes of one request; Transient where they are not all that was asked for."""
        position = start
        with self._open(start, end) as answer:
            for chunk in answer.chunks:
                position += len(chunk)
                if position > end:
                    raise Transient(shown_address(self._url), "more bytes came than were asked for")
                yield chunk
        if position < end:
            raise Transient(
                shown_address(self._url), f"the body ended {end - position} bytes early"
            )

    @contextmanager
    def _open(self, start: int, end: int) -> Iterator[Answer]:
        is_whole = start == 0 and end == self.size
        headers = {} if is_whole else {"Range": f"bytes={start}-{end - 1}"}
        if not is_whole and self._etag and not self._etag.startswith("W/"):
            headers["If-Range"] = self._etag
        address = self._address()
        try:
            is_signed = address != self._url
            with self._http.open(address, headers, is_signed=is_signed) as answer:
                self._remember(answer)
                self._check(answer, start, end, is_whole)
                yield answer
        except Expired:
            self._forget(address)
            raise

    def _check(self, answer: Answer, start: int, end: int, is_whole: bool) -> None:
        """Hold an answer against what was asked for and what is known of the file."""
        place = shown_address(answer.address)
        if answer.is_web_page and not self._url.partition("?")[0].endswith((".html", ".htm")):
            raise Transient(place, "a web page came in place of the file")
        etag = str(answer.headers.get("etag", ""))
        if self._etag and etag and etag != self._etag:
            raise SourceChanged(place)
        linked = linked_sha256(answer.hub_headers)
        if self._facts.sha256 and linked and linked != self._facts.sha256:
            raise SourceChanged(place)
        if answer.status == 200:
            if not is_whole:
                raise NoRanges(place)
            if answer.length is not None and answer.length != self.size:
                raise Transient(place, f"{answer.length} bytes in place of {self.size}")
        else:
            self._check_content_range(answer, start, end)
        self._etag = self._etag or etag

    def _check_content_range(self, answer: Answer, start: int, end: int) -> None:
        place = shown_address(answer.address)
        text = str(answer.headers.get("content-range", ""))
        found = _CONTENT_RANGE.fullmatch(text.strip())
        asked = (str(start), str(end - 1))
        if found is None or found.group(1, 2) != asked:
            raise Transient(place, f"Content-Range is {text!r}, bytes {start}-{end - 1} were asked")
        if found.group(3) not in ("*", str(self.size)):
            raise SourceChanged(place)

    def _address(self) -> str:
        with self._lock:
            if self._signed and time.monotonic() < self._signed[1]:
                return self._signed[0]
        return self._url

    def _remember(self, answer: Answer) -> None:
        if answer.hub_headers and answer.address != self._url:
            lifetime = _lifetime(answer.address)
            with self._lock:
                self._signed = (answer.address, time.monotonic() + 0.8 * lifetime)

    def _forget(self, address: str) -> None:
        with self._lock:
            if self._signed and self._signed[0] == address:
                self._signed = None


def linked_sha256(hub_headers: Mapping[str, str]) -> str:
    """The SHA-256 that the hub tells for a large file; "" when it tells none."""
    tag = hub_headers.get("x-linked-etag", "").strip('"')
    return tag if _SHA256.fullmatch(tag) else ""


def pinned(url: str, revision: str) -> str:
    """A ``resolve`` address of one commit: all ranges of a transfer come from the same file."""
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        return url
    return re.sub(r"/resolve/[^/?#]+/", f"/resolve/{revision}/", url, count=1)


def _probe(http: Http, url: str, headers: Mapping[str, str]) -> Facts:
    with http.open(url, headers) as answer:
        place = shown_address(answer.address)
        if answer.is_web_page and not url.partition("?")[0].endswith((".html", ".htm")):
            raise NetworkError(
                f"{place}: a web page came in place of the file",
                "an address on the hub needs /resolve/ where the page has /blob/",
            )
        etag = str(answer.headers.get("etag", ""))
        size = answer.length if answer.status == 200 else _total(answer)
        if size is None:
            raise NetworkError(f"{place}: the server does not tell the file's length")
        linked_size = answer.hub_headers.get("x-linked-size", str(size))
        if linked_size != str(size):
            raise Transient(place, f"{size} bytes, but the hub tells {linked_size}")
        sha256 = linked_sha256(answer.hub_headers)
        revision = answer.hub_headers.get("x-repo-commit", "") or sha256 or etag.strip('"')
        return Facts(size, etag, sha256, revision, has_ranges=answer.status == 206)


def _total(answer: Answer) -> int | None:
    text = str(answer.headers.get("content-range", ""))
    found = _CONTENT_RANGE.fullmatch(text.strip())
    if found is None or found.group(1, 2) != ("0", "0"):
        raise Transient(
            shown_address(answer.address), f"Content-Range is {text!r}, byte 0 was asked"
        )
    return None if found.group(3) == "*" else int(found.group(3))


def _lifetime(address: str) -> float:
    """How long a signed address lives, in seconds; it is resolved again before that."""
    seconds = httpx.URL(address).params.get("X-Amz-Expires", "")
    return float(seconds) if seconds.isascii() and seconds.isdigit() else 3000.0
