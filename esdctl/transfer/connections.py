"""How connections are made: certificates, and the proxy that each address needs."""

import os
import ssl
import threading
from functools import cache
from pathlib import Path

import httpx

from esdctl.errors import UsageError
from esdctl.redaction import redacted
from esdctl.transfer.proxies import Proxies


class ProxiedTransport(httpx.BaseTransport):
    """Sends each request directly or through the proxy that the environment names for it.

    Args:
        proxies: of the environment.
        limits: of each of the connection pools.

    Raises:
        UsageError: a proxy variable or a certificate variable makes no sense.
    """

    def __init__(self, proxies: Proxies, limits: httpx.Limits) -> None:
        self._proxies = proxies
        self._limits = limits
        self._certificates = trusted_certificates()
        self._lock = threading.Lock()
        self._pools: dict[str | None, httpx.HTTPTransport] = {}
        for proxy in {*proxies.by_scheme.values()}:
            self._pools[proxy] = self._new_pool(proxy)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        proxy = self._proxies.of(request.url)
        with self._lock:
            pool = self._pools.get(proxy)
            if pool is None:
                pool = self._pools[proxy] = self._new_pool(proxy)
        return pool.handle_request(request)

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()

    def _new_pool(self, proxy: str | None) -> httpx.HTTPTransport:
        try:
            return httpx.HTTPTransport(
                verify=self._certificates, limits=self._limits, proxy=proxy, trust_env=False
            )
        except (ValueError, ImportError, httpx.InvalidURL) as error:  # ImportError: SOCKS
            raise UsageError(
                f"the proxy {redacted(str(proxy))} does not work: {error}",
                "check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY",
            ) from error


def trusted_certificates() -> ssl.SSLContext:
    """Whom to trust: ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``, else certifi's list.

    Raises:
        UsageError: such a variable names nothing that can be read.
    """
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        named = os.environ.get(variable)
        if named and not Path(named).exists():
            raise UsageError(
                f"{variable} names {named}, which is not there", f"set {variable} anew, or unset it"
            )
    try:
        return _certificates(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(
            f"the certificates of SSL_CERT_FILE or SSL_CERT_DIR cannot be read: {error}",
            "give a file of certificates in PEM, or unset the variable",
        ) from error


@cache
def _certificates(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Read once a process, however many clients there are."""
    return httpx.create_ssl_context()
