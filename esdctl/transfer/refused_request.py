"""What a hub means when it refuses: the name, the revision, the licence, or the token."""

from collections.abc import Mapping

from esdctl.errors import NetworkError

_NO_TOKEN = "set HF_TOKEN to a token that may read it"
_OTHER_TOKEN = "the token in HF_TOKEN may not read it; use one that may"


def refused_request(
    place: str, status: int, headers: Mapping[str, str], *, has_token: bool, knows_token: bool
) -> NetworkError:
    """The error for a status that no other try mends.

    Args:
        place: the address as messages show it.
        status: of the answer.
        headers: of the answer, their names in small letters.
        has_token: whether the user has a token.
        knows_token: whether it was sent: the address is the hub's.
    """
    code = headers.get("x-error-code", "")
    reason, hint = _by_code(code, place, has_token and knows_token) or _by_status(
        status, has_token, knows_token
    )
    shown = f"{reason} (status {status})" if reason else f"status {status}"
    return NetworkError(f"{place}: {shown}", hint)


def _by_code(code: str, place: str, has_token: bool) -> tuple[str, str] | None:
    token = _OTHER_TOKEN if has_token else _NO_TOKEN
    if code == "RepoNotFound":  # the hub says so of private ones, too
        return "there is no such repository, or it is private", f"check its name; else {token}"
    if code == "GatedRepo":
        account = "with the token's account" if has_token else "and set HF_TOKEN"
        page = _page(place)
        return "its licence has to be accepted first", f"accept it on {page}, {account}"
    if code == "RevisionNotFound":
        return "the repository has no such revision", "check the revision"
    if code == "EntryNotFound":
        return "the repository holds no such file", "check the file's name and the revision"
    if code == "DisabledRepo":
        return "the hub has disabled this repository", "choose another one"
    return None


def _by_status(status: int, has_token: bool, knows_token: bool) -> tuple[str, str]:
    if status in (401, 403) and not knows_token:
        return "", "it is not the hub that refuses; check the address"
    if status == 401 and has_token:
        return "the hub does not know this token", "renew HF_TOKEN: it is wrong, or has expired"
    if status == 401:
        return "it needs a token", f"{_NO_TOKEN}, and accept the terms on its page"
    if status == 403:
        return "", f"{_OTHER_TOKEN if has_token else _NO_TOKEN}, and accept the terms on its page"
    if status == 404:
        return "", "check the name and the revision"
    if status == 407:
        return "the proxy wants a password", "write it as http://USER:PASSWORD@HOST:PORT"
    return "", ""


def _page(place: str) -> str:
    """The repository's page: its address without what the API adds."""
    page = place.replace("/api/models/", "/", 1).replace("/api/datasets/", "/datasets/", 1)
    for part in ("/revision/", "/tree/", "/resolve/"):
        page = page.partition(part)[0]
    return page
