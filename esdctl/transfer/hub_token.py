"""The user's hub token, `HF_TOKEN`: where it is read, what is no token, and how it is sent."""

import re
from collections.abc import Mapping

from esdctl.errors import UsageError

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, section 2.1


def token_of_environment(environment: Mapping[str, str]) -> str | None:
    """The token in ``HF_TOKEN``, without white space around it; None when there is none."""
    return environment.get("HF_TOKEN", "").strip() or None


def check_token(token: str) -> None:
    """Refuse, without showing it, what can be no token.

    Raises:
        UsageError: it holds a character that no token has.
    """
    if not _TOKEN.fullmatch(token):
        raise UsageError(
            "HF_TOKEN holds a character that no token has, such as a quotation mark, a space or a "
            "line break",
            "copy the token again; it is one word of letters, digits and _",
        )


def authorization(token: str) -> dict[str, str]:
    """The header that sends it."""
    return {"Authorization": f"Bearer {token}"}
