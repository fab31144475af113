"""``esdctl runs``: listing, removing and repeating what was erased here."""

import json
from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.storage.atomic import append_jsonl
from tests.conftest import REPOSITORY

FAST = ["--iterations", "0", "--warm-start", "--no-contact-sheet", "--devices", "cpu", "--quiet"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one finished run of pocket and one that was stopped."""
    root = tmp_path_factory.mktemp("root")
    line = ["train", "--model", "pocket", "--root", str(root), *FAST]
    assert run([*line, "--concept", "Dogs"]) == 0
    stopped = root / "outputs/runs/Rust-xattn-00000000"
    stopped.mkdir()
    record = json.loads(next(root.glob("outputs/runs/Dogs*/run.json")).read_text())
    record["concept"] |= {"name": "Rust", "template": "style"}
    record["settings"] |= {"iterations": 9}
    (stopped / "run.json").write_text(json.dumps(record))
    append_jsonl(stopped / "log.jsonl", {"step": 3, "seconds": 1.0})
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    import shutil

    return Path(shutil.copytree(made, tmp_path / "root"))


def names(root: Path) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in (root / "outputs/runs").glob("[!.]*"))


def test_a_list_says_what_was_erased_and_how_far(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["runs", "--root", str(made), "--json"]) == 0
    printed = capsys.readouterr()
    dogs, rust = sorted(json.loads(printed.out), key=lambda each: each["concept"])
    assert (dogs["concept"], dogs["base"], dogs["train_method"]) == ("Dogs", "pocket", "xattn")
    assert dogs["is_finished"]
    assert dogs["bytes"] > 1_000_000
    assert dogs["ua"] is None
    assert (rust["is_finished"], rust["steps"], rust["iterations"]) == (False, 3, 9)
    assert run(["runs", "--root", str(made)]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [each["path"] for each in (dogs, rust)]
    assert "step 3 of 9" in printed.err
    assert run(["runs", "--root", str(made), "--jsonl"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_ua_is_that_of_an_evaluation_on_disk(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ["--styles", "Mosaic", "--objects", "Dogs,Cats", "--steps", "1", "--device", "cpu"]
    assert run(["evaluate", "--model", "Dogs", "--root", str(root), *grid, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert run(["runs", "--root", str(root), "--json"]) == 0
    dogs = next(row for row in json.loads(capsys.readouterr().out) if row["concept"] == "Dogs")
    percent = report["unlearning"]["Dogs"]["ua"]["percent"]
    assert dogs["ua"] == {"percent": percent, "pictures": 1, "protocol": "pocket v1, changed"}


def test_an_empty_workspace_has_no_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs", "--root", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_damaged_record_is_named_and_left_out(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "outputs/runs/Rust-xattn-00000000/run.json").write_text("{")
    assert run(["runs", "--root", str(root)]) == 0
    printed = capsys.readouterr()
    assert "Rust-xattn-00000000 is left out" in printed.err
    assert len(printed.out.splitlines()) == 1


def test_a_run_is_removed_only_with_yes_where_nobody_can_be_asked(root: Path) -> None:
    assert run(["runs", "rm", "Dogs", "--root", str(root)]) == 2
    assert run(["runs", "rm", "Dogs", "--root", str(root), "--dry-run"]) == 0
    assert names(root) == ["Dogs", "Rust"]
    assert run(["runs", "rm", "Dogs", "--root", str(root), "--yes"]) == 0
    assert names(root) == ["Rust"]
    assert not list((root / "outputs/runs").glob(".*"))


def test_what_links_lead_to_stays(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (next(root.glob("outputs/runs/Dogs*")) / "link").symlink_to(outside)
    assert run(["runs", "rm", "Dogs", "--root", str(root), "--yes"]) == 0
    assert (outside / "kept").read_text() == "kept"
    linked = root / "linked"
    linked.symlink_to(root / "outputs/runs/Rust-xattn-00000000")
    assert run(["runs", "rm", str(linked), "--root", str(root), "--yes"]) == 2
    assert names(root) == ["Rust"]


@pytest.mark.parametrize("name", ["pocket", "nothing", "."])
def test_what_is_no_run_is_not_removed(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    assert run(["runs", "rm", name, "--root", str(root), "--yes"]) == 3
    assert names(root) == ["Dogs", "Rust"]
    assert (REPOSITORY / "esdctl/pocket/weights/model_index.json").is_file()


def test_a_run_that_another_stands_on_is_not_removed_alone(root: Path) -> None:
    dogs = next(root.glob("outputs/runs/Dogs*"))
    rust = root / "outputs/runs/Rust-xattn-00000000/run.json"
    record = json.loads(rust.read_text())
    record["base"]["name"] = str(dogs / "delta.safetensors")
    rust.write_text(json.dumps(record))
    assert run(["runs", "rm", "Dogs", "--root", str(root), "--yes"]) == 2
    assert run(["runs", "rm", "Dogs", "Rust", "--root", str(root), "--yes"]) == 0
    assert names(root) == []


def test_a_rerun_on_the_same_machine_is_equal_to_the_last_bit(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["runs", "rerun", "Dogs", "--root", str(root), "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert compared["equal"]
    assert compared["largest"] == 0
    assert Path(compared["rerun"]).name.startswith("again-Dogs-")
    assert run(["runs", "rerun", "Rust", "--root", str(root)]) != 0  # never finished


def test_a_run_that_came_out_otherwise_fails_the_check(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from esdctl.checkpoints.changes.delta import read_delta, read_delta_metadata, write_delta

    delta = next(root.glob("outputs/runs/Dogs*")) / "delta.safetensors"
    tensors, about = read_delta(delta), read_delta_metadata(delta)
    name = next(iter(tensors))
    about = {key: value for key, value in about.items() if key != "format"}
    write_delta(delta, {**tensors, name: tensors[name] + 0.25}, about)
    assert run(["runs", "rerun", "Dogs", "--root", str(root)]) == 1
    assert "1 of 80 tensors differ" in capsys.readouterr().err
    assert run(["runs", "rerun", "Dogs", "--root", str(root), "--allow", "0.3"]) == 0
