"""How a transfer behaves: connections, limits, the hub's address and the user's token."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from esdctl.errors import UsageError
from esdctl.transfer.hub_token import check_token, token_of_environment

DEFAULT_ENDPOINT = "https://huggingface.co"
MAX_CONNECTIONS = 32  # more helps no line, and memory stays bounded

LONGEST_TIMEOUT = 86_400.0  # seconds; a socket takes no endless one

Proof = Literal["members", "whole"]


@dataclass(frozen=True)
class TransferOptions:
    """What the user may choose.

    Args:
        connections: requests under way at once, 1 to 32.
        limit_rate: bytes a second over all connections; None for no limit.
        timeout: seconds without a byte after which a connection counts as stalled.
        retries: failures in a row, over the whole transfer, before it gives up.
        endpoint: the hub's address; the token goes there and nowhere else.
        token: the user's hub token, or None.
        offline: refuse every request.
        proof: ``whole`` also compares the SHA-256 of a ZIP with the server's.
        first_wait: seconds before the first retry; each further one waits twice as long.
        seed: of the waits' jitter; None for a random one.
    """

    connections: int = 8
    limit_rate: int | None = None
    timeout: float = 30.0
    retries: int = 8
    endpoint: str = DEFAULT_ENDPOINT
    token: str | None = field(default=None, repr=False)
    offline: bool = False
    proof: Proof = "members"
    first_wait: float = 0.5
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.connections <= MAX_CONNECTIONS:
            raise UsageError(f"connections must lie between 1 and {MAX_CONNECTIONS}")
        if self.limit_rate is not None and self.limit_rate < 1:
            raise UsageError("the rate limit must be at least 1 byte a second")
        if not self.timeout > 0:
            raise UsageError("the timeout must be more than 0 seconds")
        if self.retries < 0:
            raise UsageError("retries must be at least 0")
        if self.timeout > LONGEST_TIMEOUT:
            raise UsageError(f"the timeout must be at most {LONGEST_TIMEOUT:g} seconds")
        _check_endpoint(self.endpoint)
        if self.token is not None:
            check_token(self.token)


def _check_endpoint(endpoint: str) -> None:
    """Refuse what is no plain address of a host."""
    try:
        parts = urlsplit(endpoint)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_address = is_address and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:  # a port that is no number, brackets that do not match
        is_address = False
    if not is_address or not endpoint.isascii() or any(c.isspace() for c in endpoint):
        raise UsageError(
            f"the endpoint {endpoint} is no http or https address",
            "check HF_ENDPOINT or --endpoint; the hub's own is https://huggingface.co",
        )


def options_from_environment(
    environment: Mapping[str, str],
    *,
    connections: int | None = None,
    limit_rate: int | None = None,
    timeout: float | None = None,
    retries: int | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    offline: bool | None = None,
    proof: Proof | None = None,
) -> TransferOptions:
    """Read ``HF_ENDPOINT``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE``; flags win, None is not given.

    Raises:
        UsageError: a value is not allowed.
    """
    defaults = TransferOptions()
    if offline is None:
        offline = environment.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    return TransferOptions(
        connections=defaults.connections if connections is None else connections,
        limit_rate=limit_rate,
        timeout=defaults.timeout if timeout is None else timeout,
        retries=defaults.retries if retries is None else retries,
        endpoint=(endpoint or environment.get("HF_ENDPOINT") or defaults.endpoint).rstrip("/"),
        token=token or token_of_environment(environment),
        offline=offline,
        proof=proof or defaults.proof,
    )
