"""The one httpx client: authentication, redirects, proxies, and which faults are worth a retry."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import httpx

import esdctl
from esdctl.errors import NetworkError
from esdctl.progress import Reporter, Silent
from esdctl.redaction import redacted
from esdctl.transfer.connections import ProxiedTransport
from esdctl.transfer.hub_token import authorization
from esdctl.transfer.options import TransferOptions
from esdctl.transfer.proxies import proxies_of_environment
from esdctl.transfer.refused_request import refused_request
from esdctl.transfer.retry import (
    RateLimit,
    RetryBudget,
    Stopped,
    Transient,
    Unreachable,
    parse_retry_after,
)

MAX_REDIRECTS = 8
CONNECT_TIMEOUT = 10.0  # seconds at most for a connection to be made
_SMALL_BODY = 64 * 1024  # of a redirect; reading it keeps the connection usable

Value = TypeVar("Value")


class Expired(Transient):
    """The storage refuses an address that the hub signed; resolve it again."""


class OutOfRange(Transient):
    """The file ends before the range that was asked for."""


@dataclass(frozen=True)
class Answer:
    """A final answer, 200 or 206, its body still to be read.

    Args:
        address: where it came from, after all redirects.
        hub_headers: of the answers by the hub's own host, the first one winning.
        chunks: the body as it arrives, undecoded.
    """

    address: str
    status: int
    headers: httpx.Headers
    hub_headers: Mapping[str, str]
    chunks: Iterator[bytes]

    @property
    def length(self) -> int | None:
        """The body's length, when the server tells it."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() else None

    @property
    def is_web_page(self) -> bool:
        return str(self.headers.get("content-type", "")).lower().startswith("text/html")


class Http:
    """Requests of one transfer, from any of its threads.

    The token goes to the hub's origin only. A redirect never leads from https to http.

    Args:
        options: connections, timeout, token, rate and retries.
        reporter: told of each wait.
    """

    def __init__(self, options: TransferOptions, reporter: Reporter = Silent()) -> None:  # noqa: B008
        self.options = options
        self.stop = threading.Event()
        self.budget = RetryBudget(
            options.retries, options.first_wait, options.seed, self.stop, reporter.notice
        )
        self._rate = RateLimit(options.limit_rate, self.stop)
        self._hub = _origin(httpx.URL(options.endpoint))
        self._streams: set[socket.socket] = set()
        self._proxies = proxies_of_environment()
        self._client = self._new_client()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def abort(self) -> None:
        """Make every thread of the transfer end soon, also those that wait for bytes."""
        self.stop.set()
        for stream in list(self._streams):
            with suppress(OSError, ValueError):
                stream.shutdown(socket.SHUT_RDWR)

    def retrying(self, attempt: Callable[[], Value]) -> Value:
        """Call ``attempt`` until it ends without a Transient fault.

        Raises:
            NetworkError: the retry budget is spent, or the fault is no transient one.
        """
        while True:
            self.budget.pace()
            began = time.monotonic()
            try:
                value = attempt()
            except Transient as failure:
                self.budget.spend(failure, began)
            else:
                self.budget.made_progress()
                return value

    @contextmanager
    def open(
        self, url: str, headers: Mapping[str, str] | None = None, *, is_signed: bool = False
    ) -> Iterator[Answer]:
        """Get ``url``, following redirects, and give the answer with its body still to be read.

        Args:
            is_signed: a redirect led to ``url`` before; 403 means that it expired.

        Raises:
            NetworkError: offline, refused for good, or a redirect that leads astray.
            Transient: a fault worth a retry, also while the body is read; Expired is one.
        """
        address = self._allowed(url)
        try:
            with ExitStack() as stack:
                yield self._follow(address, headers or {}, is_signed, stack)
        except httpx.TransportError as error:
            if self.stop.is_set():
                raise Stopped from error
            raise self._transport_fault(address, error) from error

    def _allowed(self, url: str) -> httpx.URL:
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise NetworkError(f"{url!r} is no address: {error}") from error
        if address.scheme not in ("http", "https") or not address.host:
            raise NetworkError(f"{url!r} is no http or https address")
        if self.options.offline:
            raise NetworkError(
                f"{shown_address(address)} is needed, but requests are switched off",
                "unset HF_HUB_OFFLINE",
            )
        return address

    def _follow(
        self, address: httpx.URL, headers: Mapping[str, str], is_signed: bool, stack: ExitStack
    ) -> Answer:
        hub_headers: dict[str, str] = {}
        for _ in range(MAX_REDIRECTS):
            response = self._send(address, headers, stack)
            self.budget.reached()
            if _origin(address) == self._hub:
                hub_headers = {**response.headers, **hub_headers}
            if response.has_redirect_location:
                address, is_signed = self._redirected(address, response), True
                continue
            self._check_status(address, response, is_signed)
            encoding = response.headers.get("content-encoding", "identity")
            if encoding.lower() != "identity":
                raise Transient(shown_address(address), f"the body came with {encoding} encoding")
            chunks = self._chunks(response)
            return Answer(str(address), response.status_code, response.headers, hub_headers, chunks)
        raise NetworkError(f"{shown_address(address)}: more than {MAX_REDIRECTS} redirects")

    def _send(
        self, address: httpx.URL, headers: Mapping[str, str], stack: ExitStack
    ) -> httpx.Response:
        headers = dict(headers)
        if self.options.token and _origin(address) == self._hub:
            headers |= authorization(self.options.token)
        response = stack.enter_context(self._client.stream("GET", address, headers=headers))
        network = response.extensions.get("network_stream")
        connection = network.get_extra_info("socket") if network else None
        if isinstance(connection, socket.socket):
            self._streams.add(connection)
            stack.callback(self._streams.discard, connection)
        return response

    def _redirected(self, address: httpx.URL, response: httpx.Response) -> httpx.URL:
        length = response.headers.get("content-length", "")
        if length.isdigit() and int(length) <= _SMALL_BODY:
            response.read()
        try:
            target = address.join(response.headers["location"])
        except httpx.InvalidURL as error:
            raise NetworkError(f"{shown_address(address)} redirects to no address") from error
        if target.scheme not in ("http", "https"):
            raise NetworkError(f"{shown_address(address)} redirects to a {target.scheme!r} address")
        if address.scheme == "https" and target.scheme != "https":
            raise NetworkError(f"{shown_address(address)} redirects from https to http; refused")
        return target

    def _check_status(self, address: httpx.URL, response: httpx.Response, is_signed: bool) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        if status == 403 and is_signed and _origin(address) != self._hub:
            raise Expired(shown_address(address), "status 403")
        if status == 416:
            raise OutOfRange(shown_address(address), "status 416")
        if status in (408, 425, 429) or status >= 500:
            wait = parse_retry_after(response.headers.get("retry-after"))
            raise Transient(shown_address(address), f"status {status}", wait)
        raise refused_request(
            shown_address(address),
            status,
            response.headers,
            has_token=bool(self.options.token),
            knows_token=_origin(address) == self._hub,
        )

    def _transport_fault(self, address: httpx.URL, error: httpx.TransportError) -> Exception:
        """Blame the host that was asked last; a certificate does not mend itself."""
        with suppress(RuntimeError):
            address = error.request.url
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return NetworkError(f"{shown_address(address)}: its certificate is not valid ({error})")
        proxy = self._proxies.of(address)
        through = f" (through the proxy {redacted(proxy)})" if proxy else ""
        if isinstance(error, httpx.ConnectTimeout):
            waited = min(self.options.timeout, CONNECT_TIMEOUT)
            return Unreachable(shown_address(address), f"no connection after {waited:g} s{through}")
        if isinstance(error, httpx.TimeoutException):
            return Transient(shown_address(address), f"no byte for {self.options.timeout:g} s")
        reason = f"{str(error) or type(error).__name__}{through}"
        if isinstance(error, httpx.ConnectError | httpx.ProxyError):
            return Unreachable(shown_address(address), reason)
        return Transient(shown_address(address), reason)

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        for chunk in response.iter_raw():
            if self.stop.is_set():
                raise Stopped
            self._rate.take(len(chunk))
            yield chunk

    def _new_client(self) -> httpx.Client:
        """Proxies and certificates come from the environment.

        Raises:
            UsageError: such a variable makes no sense.
        """
        count, timeout = self.options.connections + 2, self.options.timeout
        limits = httpx.Limits(max_connections=count, max_keepalive_connections=count)
        return httpx.Client(
            headers={
                "User-Agent": f"esdctl/{esdctl.__version__}",
                "Accept": "*/*",
                "Accept-Encoding": "identity",
            },
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT)),
            transport=ProxiedTransport(self._proxies, limits),
            trust_env=False,
        )


def shown_address(address: httpx.URL | str) -> str:
    """An address as messages show it: without query (signatures live there) and user."""
    url = httpx.URL(address)
    return str(url.copy_with(query=None, fragment=None, userinfo=b""))


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    """Scheme, host and port: what a token is bound to."""
    default = 443 if url.scheme == "https" else 80
    return url.scheme, url.host.lower(), url.port or default
