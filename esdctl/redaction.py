"""What is never shown: tokens, passwords, and signed addresses; the one place that hides them.

Errors, tracebacks, notices, a run's recorded command line and what trackers get pass through here.
"""

import os
import re
from collections.abc import Mapping, Sequence

HIDDEN = "***"
_SHORTEST = 6  # characters; a shorter value would hide ordinary words
_SECRET_VARIABLE = re.compile(r"(?:TOKEN|SECRET|PASSWORD|API_KEY)$", re.IGNORECASE)
_PROXY_VARIABLE = re.compile(r"_PROXY$", re.IGNORECASE)
_SECRET_WORD = r"(?:token|secret|password|passwd|api[_-]?key|signature|credential|auth|sig)"
_OPTION = re.compile(rf"^--?[a-z_-]*{_SECRET_WORD}$", re.IGNORECASE)
_PATTERNS = (
    # A hub token, wherever it stands.
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), f"hf_{HIDDEN}"),
    (re.compile(r"(\bBearer\s+)[^\s'\"]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    # User and password of an address.
    (re.compile(r"([a-z][a-z0-9+.-]*://)[^\s/@'\"]+@", re.IGNORECASE), rf"\1{HIDDEN}@"),
    # The query of an address that is signed, or that carries a token.
    (
        re.compile(
            rf"(https?://[^\s?'\"]+\?)[^\s'\"]*?{_SECRET_WORD}[a-z]*=[^\s'\"]*", re.IGNORECASE
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(rf"(--[a-z_-]*{_SECRET_WORD}=)\S+", re.IGNORECASE), rf"\1{HIDDEN}"),
)


def redacted(text: str, environment: Mapping[str, str] | None = None) -> str:
    """``text`` with ``***`` in place of each secret.

    Args:
        text: about to be shown or kept.
        environment: whose tokens and proxies' passwords are hidden too; None means the process's.
    """
    for secret in _secrets(os.environ if environment is None else environment):
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redacted_arguments(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> list[str]:
    """A command line without its secrets; also the value that follows ``--token`` is hidden."""
    hidden = []
    is_value = False
    for argument in arguments:
        hidden.append(HIDDEN if is_value else redacted(argument, environment))
        is_value = _OPTION.match(argument) is not None
    return hidden


def redacted_document(document: object) -> object:
    """A JSON document with each of its texts redacted."""
    if isinstance(document, str):
        return redacted(document)
    if isinstance(document, Mapping):
        return {key: redacted_document(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [redacted_document(value) for value in document]
    return document


def _secrets(environment: Mapping[str, str]) -> list[str]:
    """Secret values, the longest first: whole, as an error escapes them, and their pieces."""
    values = [value for name, value in environment.items() if _SECRET_VARIABLE.search(name)]
    for name, value in environment.items():
        if _PROXY_VARIABLE.search(name):
            userinfo, found, _ = value.rpartition("://")[2].rpartition("@")
            values += [userinfo, userinfo.partition(":")[2]] if found else []
    forms = {
        form
        for value in values
        for form in (value, value.strip(), repr(value)[1:-1], *value.split())
        if len(form) >= _SHORTEST
    }
    return sorted(forms, key=len, reverse=True)
