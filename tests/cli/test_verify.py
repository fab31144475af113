"""``esdctl verify``: a table for people, JSON for programs, exit status 1 for a damaged file."""

import json

import pytest

from esdctl.cli.app import run
from esdctl.storage.workspace import Workspace
from tests.verification.conftest import flip, workspace

__all__ = ["workspace"]
Capture = pytest.CaptureFixture[str]
INDEX = "style50/model_index.json"


def verify(workspace: Workspace, *arguments: str) -> int:
    return run(["verify", *arguments, "--root", str(workspace.root)])


def test_sound_folders_are_printed(workspace: Workspace, capsys: Capture) -> None:
    assert verify(workspace, "--deep") == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        str(workspace.models / "diffuser"),
        str(workspace.data / "i2p-dataset/sample"),
    ]
    assert "FAILED" not in shown.err
    assert "sha256" in shown.err


def test_a_damaged_file_is_named_and_the_status_is_1(workspace: Workspace, capsys: Capture) -> None:
    damaged = workspace.models / "diffuser" / INDEX
    flip(damaged, 0)
    assert verify(workspace) == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [str(workspace.data / "i2p-dataset/sample")]
    assert "FAILED" in shown.err
    assert f"error: {damaged}: sha256 is " in shown.err
    assert "hint: esdctl verify --repair" in shown.err


def test_json_is_the_whole_report(workspace: Workspace, capsys: Capture) -> None:
    flip(workspace.models / "diffuser" / INDEX, 0)
    assert verify(workspace, "--json", "--quiet") == 1
    shown = capsys.readouterr()
    diffuser, i2p = json.loads(shown.out)
    assert (diffuser["name"], diffuser["passed"]) == ("diffuser", False)
    assert diffuser["damaged"] == [INDEX]
    assert i2p["passed"] is True
    failed = [check for check in diffuser["checks"] if not check["passed"]]
    assert [(check["name"], check["file"]) for check in failed] == [("sha256", INDEX)]
    assert shown.err.startswith("error: ")


def test_a_dry_run_names_what_would_be_read(workspace: Workspace, capsys: Capture) -> None:
    flip(workspace.models / "diffuser" / INDEX, 0)
    assert verify(workspace, "--dry-run", "--json") == 0
    names = [target["name"] for target in json.loads(capsys.readouterr().out)]
    assert names == ["diffuser", "i2p --sample"]


def test_a_dry_repair_checks_and_fetches_nothing(workspace: Workspace, capsys: Capture) -> None:
    flip(workspace.models / "diffuser" / INDEX, 0)
    before = (workspace.models / "diffuser" / INDEX).read_bytes()
    assert verify(workspace, "--repair", "--dry-run", "--jsonl") == 1
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [document["damaged"] for document in documents] == [[INDEX], []]
    assert (workspace.models / "diffuser" / INDEX).read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "status"), [(("nothing",), 2), (("--json", "--jsonl"), 2), (("compvis",), 1)]
)
def test_each_failure_has_its_status(
    workspace: Workspace, arguments: tuple[str, ...], status: int
) -> None:
    assert verify(workspace, *arguments) == status
