"""Which proxy a request goes through: the variables as curl reads them, with IPv6 in NO_PROXY."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.request import getproxies

import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Proxies:
    """The proxies of the environment.

    Args:
        by_scheme: ``http``, ``https`` and ``all`` -> the proxy's address.
        exceptions: entries of NO_PROXY: a host, ``.domain``, an address, a network, ``host:port``,
            or ``*`` for every host.
    """

    by_scheme: Mapping[str, str]
    exceptions: tuple[str, ...] = ()

    def of(self, url: httpx.URL) -> str | None:
        """The proxy for ``url``; None where it is asked directly."""
        proxy = self.by_scheme.get(url.scheme) or self.by_scheme.get("all")
        if proxy is None or any(_covers(entry, url) for entry in self.exceptions):
            return None
        return proxy


def proxies_of_environment() -> Proxies:
    """``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, in either case."""
    found = getproxies()
    entries = (entry.strip() for entry in found.pop("no", "").split(","))
    by_scheme = {
        scheme: proxy if "://" in proxy else f"http://{proxy}"
        for scheme, proxy in found.items()
        if scheme in ("http", "https", "all") and proxy
    }
    return Proxies(by_scheme, tuple(entry for entry in entries if entry))


def _covers(entry: str, url: httpx.URL) -> bool:
    """Whether an entry of NO_PROXY means this host."""
    if entry == "*":
        return True
    host = url.host.lower().rstrip(".")
    name, port = _host_and_port(entry.rpartition("://")[2].lower())
    if port and port != (url.port or {"https": 443, "http": 80}.get(url.scheme)):
        return False
    address = _address(host)
    if address is not None:
        return _holds(name, address)
    domain = name.removeprefix("*").lstrip(".").rstrip(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _host_and_port(entry: str) -> tuple[str, int | None]:
    """``host:port``, ``[::1]:port``, ``::1`` or ``fe80::/10`` in its two parts."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        if rest.startswith("/"):  # [fe80::]/10
            return host + rest, None
        port = rest.removeprefix(":")
    elif entry.count(":") == 1:
        host, _, port = entry.partition(":")
    else:
        host, port = entry, ""
    return host, int(port) if port.isascii() and port.isdigit() else None


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _holds(entry: str, address: Address) -> bool:
    try:
        return address in ipaddress.ip_network(entry.partition("%")[0], strict=False)
    except ValueError:  # a name
        return False
