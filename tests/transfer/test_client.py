"""Tokens and redirects: who sees what, and where a request may be led."""

from pathlib import Path

import httpx
import pytest

from esdctl.errors import NetworkError, UsageError
from esdctl.transfer.client import Http, spoken
from esdctl.transfer.options import TransferOptions, options_from_environment
from tests.hub_faults import Fault
from tests.hub_server import HubServer
from tests.transfer.downloads import (
    REPO,
    ZIP_REPO,
    content_of,
    get,
    some_files,
    tree_artifact,
    zip_artifact,
    zip_of,
)

FILES = some_files()


def test_the_token_goes_to_the_hub_alone(hub: HubServer, tmp_path: Path) -> None:
    hub.token = "secret"
    hub.commit(REPO, dict(FILES))
    assert content_of(get(tree_artifact(), tmp_path, hub, token="secret")) == FILES
    seen = {(request.host, request.authorization) for request in hub.requests}
    assert seen == {("localhost", "Bearer secret"), ("127.0.0.1", "")}


def test_a_source_elsewhere_never_sees_the_token(hub: HubServer, tmp_path: Path) -> None:
    hub.commit(ZIP_REPO, {"all.zip": zip_of(FILES)})
    get(zip_artifact(hub), tmp_path, hub, token="secret", endpoint="http://localhost:1")
    assert {request.authorization for request in hub.requests} == {""}


def test_a_missing_token_is_told_with_what_to_do(hub: HubServer, tmp_path: Path) -> None:
    hub.token = "secret"
    hub.commit(REPO, dict(FILES))
    with pytest.raises(NetworkError, match="status 401") as caught:
        get(tree_artifact(), tmp_path, hub)
    assert "HF_TOKEN" in caught.value.hint


def test_every_request_asks_for_the_bytes_as_they_are(hub: HubServer, tmp_path: Path) -> None:
    hub.commit(REPO, dict(FILES))
    get(tree_artifact(), tmp_path, hub)
    assert {request.accept_encoding for request in hub.requests} == {"identity"}


def test_offline_makes_no_request_and_says_so(hub: HubServer, tmp_path: Path) -> None:
    hub.commit(REPO, dict(FILES))
    with pytest.raises(NetworkError, match="switched off") as caught:
        get(tree_artifact(), tmp_path, hub, offline=True)
    assert "HF_HUB_OFFLINE" in caught.value.hint
    assert hub.requests == []


@pytest.mark.parametrize(
    ("source", "target", "fault"),
    [
        ("https://hub.test/a", "http://storage.test/b", "from https to http"),
        ("https://hub.test/a", "file:///etc/passwd", "'file' address"),
        ("http://hub.test/a", "ftp://storage.test/b", "'ftp' address"),
    ],
)
def test_a_redirect_never_leads_astray(source: str, target: str, fault: str) -> None:
    # A socket would need certificates; the rule is one function of two addresses.
    with Http(TransferOptions()) as http, pytest.raises(NetworkError, match=fault):
        response = httpx.Response(302, headers={"Location": target})
        http._redirected(httpx.URL(source), response)


def test_a_server_that_is_not_there_is_named_with_the_attempts(tmp_path: Path) -> None:
    with HubServer() as gone:
        artifact = zip_artifact(gone)
    with pytest.raises(NetworkError, match=rf"{gone.endpoint}/owner/.*\(3 attempts\)"):
        get(artifact, tmp_path, gone, retries=2)


def test_the_proxy_variables_are_honoured(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(REPO, {"small.txt": b"small"})  # the hub here is the proxy: it sees whole addresses
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", hub.storage)
    folder = get(tree_artifact(), tmp_path, hub, endpoint="http://localhost.invalid")
    assert content_of(folder) == {"small.txt": b"small"}
    assert {request.host for request in hub.requests} == {"localhost.invalid"}


def test_a_proxy_that_makes_no_sense_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "gopher://proxy.test")
    with pytest.raises(UsageError, match="proxy"):
        Http(TransferOptions())


def test_a_403_without_a_redirect_is_final(hub: HubServer, tmp_path: Path) -> None:
    hub.misbehave([("", 0, Fault("expired"))])
    artifact = zip_artifact(hub)
    with pytest.raises(NetworkError, match="status 403"):
        get(artifact, tmp_path, hub, endpoint="http://localhost:1")
    assert len(hub.requests) == 1


def test_messages_show_no_signature_and_no_password() -> None:
    address = "https://user:password@storage.test/blob?Signature=abc#d"
    assert spoken(address) == "https://storage.test/blob"


def test_the_environment_is_read_and_flags_win() -> None:
    environment = {"HF_ENDPOINT": "http://mirror/", "HF_TOKEN": "abc ", "HF_HUB_OFFLINE": "1"}
    options = options_from_environment(environment)
    assert (options.endpoint, options.token, options.offline) == ("http://mirror", "abc", True)
    assert "abc" not in repr(options)
    chosen = options_from_environment(environment, endpoint="http://mine", offline=False)
    assert (chosen.endpoint, chosen.offline) == ("http://mine", False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"connections": 0}, {"connections": 33}, {"limit_rate": 0}, {"timeout": 0.0},
        {"retries": -1}, {"endpoint": "mirror"},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_a_usage_error(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        options_from_environment({}, **wrong)  # type: ignore[arg-type]
