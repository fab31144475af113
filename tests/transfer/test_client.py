"""Tokens and redirects: who sees what, and where a request may be led."""

from pathlib import Path

import httpx
import pytest

from esdctl.errors import NetworkError, UsageError
from esdctl.transfer.client import Http, shown_address
from esdctl.transfer.options import TransferOptions, options_from_environment
from esdctl.transfer.proxies import proxies_of_environment
from tests.hub_faults import Fault
from tests.hub_server import HubServer
from tests.transfer.downloads import (
    REPO,
    ZIP_REPO,
    Remembering,
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
    told = Remembering()
    fault = rf"{gone.endpoint}/owner/.*\(3 attempts\)"
    with pytest.raises(NetworkError, match=fault) as caught:  # not the 9 of a server that answered
        get(artifact, tmp_path, gone, told)
    assert "check the network" in caught.value.hint
    assert "trying again" in told.notices[0]


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


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_direct"),
    [
        ("::1", "http://[::1]:8000/x", True),
        ("[::1]", "http://[::1]:8000/x", True),
        ("[::1]:8000", "http://[::1]:8000/x", True),
        ("[::1]:9", "http://[::1]:8000/x", False),
        ("fe80::/10, 10.0.0.0/8", "http://[fe80::5]/", True),
        ("fe80::/10, 10.0.0.0/8", "http://10.1.2.3/", True),
        ("10.0.0.0/8", "http://11.1.2.3/", False),
        ("127.0.0.1", "http://127.0.0.1/", True),
        ("hub.test", "https://hub.test/", True),
        ("hub.test", "https://cdn.hub.test/", True),
        (".hub.test", "https://hub.test/", True),
        ("*.hub.test", "https://cdn.hub.test/", True),
        ("hub.test", "https://otherhub.test/", False),
        ("hub.test:443", "https://hub.test/", True),
        ("hub.test:8080", "https://hub.test/", False),
        ("*", "https://hub.test/", True),
        ("https://hub.test", "https://hub.test/", True),
        (",, ,", "https://hub.test/", False),
    ],
)
def test_no_proxy_names_hosts_domains_addresses_and_networks(
    no_proxy: str, url: str, is_direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("all_proxy", "proxy.test:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    expected = None if is_direct else "http://proxy.test:3128"
    assert proxies_of_environment().of(httpx.URL(url)) == expected


def test_a_proxy_that_is_not_there_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://me:my-password@localhost:9")
    with HubServer() as hub, pytest.raises(NetworkError, match="through the proxy") as caught:
        get(tree_artifact(), tmp_path, hub)
    assert "my-password" not in caught.value.message


def test_a_proxy_that_makes_no_sense_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "gopher://proxy.test")
    with pytest.raises(UsageError, match="proxy"):
        Http(TransferOptions())


@pytest.mark.parametrize(
    ("status", "code", "token", "message", "hint"),
    [
        (401, "RepoNotFound", None, "no such repository, or it is private", "set HF_TOKEN"),
        (404, "RepoNotFound", "abc", "no such repository, or it is private", "HF_TOKEN may not"),
        (403, "GatedRepo", "abc", "licence", "accept it on {}/datasets/owner/set, with the token"),
        (401, "GatedRepo", None, "licence", "accept it on {}/datasets/owner/set, and set HF_TOKEN"),
        (404, "RevisionNotFound", None, "no such revision", "check the revision"),
        (404, "EntryNotFound", None, "no such file", "file's name"),
        (401, "", "abc", "does not know this token", "renew HF_TOKEN"),
        (401, "", None, "needs a token", "set HF_TOKEN"),
        (403, "", "abc", "status 403", "HF_TOKEN may not read it"),
    ],
)
def test_a_refusal_says_whether_it_is_the_name_the_token_or_the_licence(
    status: int,
    code: str,
    token: str | None,
    message: str,
    hint: str,
    hub: HubServer,
    tmp_path: Path,
) -> None:
    hub.misbehave([("", 0, Fault("status", status, error_code=code))])
    with pytest.raises(NetworkError, match=message) as caught:
        get(tree_artifact(), tmp_path, hub, token=token)
    assert hint.format(hub.endpoint) in caught.value.hint
    assert len(hub.requests) == 1


def test_a_403_without_a_redirect_is_final(hub: HubServer, tmp_path: Path) -> None:
    hub.misbehave([("", 0, Fault("expired"))])
    artifact = zip_artifact(hub)
    with pytest.raises(NetworkError, match="status 403"):
        get(artifact, tmp_path, hub, endpoint="http://localhost:1")
    assert len(hub.requests) == 1


def test_messages_show_no_signature_and_no_password() -> None:
    address = "https://user:password@storage.test/blob?Signature=abc#d"
    assert shown_address(address) == "https://storage.test/blob"


def test_the_environment_is_read_and_flags_win() -> None:
    environment = {"HF_ENDPOINT": "http://mirror/", "HF_TOKEN": "abc ", "HF_HUB_OFFLINE": "1"}
    options = options_from_environment(environment)
    assert (options.endpoint, options.token, options.offline) == ("http://mirror", "abc", True)
    assert "abc" not in repr(options)
    chosen = options_from_environment(environment, endpoint="http://mine", offline=False)
    assert (chosen.endpoint, chosen.offline) == ("http://mine", False)


@pytest.mark.parametrize(
    "token", ["“hf_abcdefgh”", "hf_abc\nhf_defgh", "hf_abc defgh", "'hf_abcdefgh'", "hf_\xe4bcdefg"]
)
def test_a_token_that_can_be_none_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(UsageError, match="HF_TOKEN holds a character") as caught:
        options_from_environment({"HF_TOKEN": token})
    for piece in token.split():
        assert piece not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    "endpoint",
    ["nonsense", "http://", "http://[::1", "http://host:port", "ftp://a", "http://a b", "http://ä"],
)
def test_an_endpoint_that_is_no_address_is_a_usage_error(endpoint: str) -> None:
    with pytest.raises(UsageError, match="is no http or https address"):
        options_from_environment({"HF_ENDPOINT": endpoint})


def test_certificates_that_are_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(UsageError, match=r"SSL_CERT_FILE names .*, which is not there"):
        Http(TransferOptions())
    (tmp_path / "none.pem").write_text("no certificate")
    with pytest.raises(UsageError, match="cannot be read"):
        Http(TransferOptions())


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": float("inf")},
        {"connections": 0}, {"connections": 33}, {"limit_rate": 0}, {"timeout": 0.0},
        {"retries": -1}, {"endpoint": "mirror"},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_a_usage_error(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        options_from_environment({}, **wrong)  # type: ignore[arg-type]
