"""``esdctl doctor`` tells what is here and what is missing, quickly, also without a network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.evaluation.judges.detectors import nudenet
from esdctl.verification import installation


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    assert run(["doctor", "--root", str(tmp_path), "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    return {f"{finding['group']}/{finding['name']}": finding for finding in findings}


def test_being_offline_is_a_finding_and_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(tmp_path, capsys)
    assert "not reachable" in found["hub/http://127.0.0.1:9"]["found"]
    assert found["models/pocket"]["found"] == "embedded"
    assert found["models/compvis"]["advice"] == "esdctl download compvis"
    assert found["devices/cpu"]["found"]
    assert found["versions/torch"]["found"]
    assert not any(finding["is_broken"] for finding in found.values())


def test_the_token_is_never_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "hf_" + "s3cret" * 5
    monkeypatch.setenv("HF_TOKEN", secret)
    assert run(["doctor", "--root", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "token: set (never shown)" in printed.out
    assert secret not in printed.out + printed.err


def test_what_every_command_needs_and_is_broken_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "EMBEDDED", {"pocket": tmp_path / "nothing"})
    assert run(["doctor", "--root", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "BROKEN: pocket" in printed.out
    assert "broken: pocket" in printed.err


def test_copies_of_checkpoints_are_told_with_their_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    copy = tmp_path / "models/compvis/style50/.compvis.ckpt.0123456789abcdef.safetensors"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(bytes(2_000_000))
    found = report(tmp_path, capsys)
    assert found["caches/copies of checkpoints"]["found"] == "1, 2.0 MB"
    assert "HF_HUB_OFFLINE" in found["hub/http://127.0.0.1:9"]["found"]


def test_judges_are_told_with_what_is_missing_for_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = report(tmp_path, capsys)
    assert found["judges/pocket"] == found["judges/pocket"] | {"found": "here", "advice": ""}
    assert "style50_cls.pth into" in found["judges/style50"]["advice"]
    assert found["judges/nudenet"]["found"].startswith("3.")
    assert found["judges/CLIP score by clip-vit-l-14"]["advice"] == (
        "esdctl download clip-vit-l-14"
    )
    assert found["judges/LPIPS"]["advice"] == "esdctl download alexnet"
    monkeypatch.setattr(nudenet, "find_spec", lambda name: None)
    found = report(tmp_path, capsys)
    assert found["judges/nudenet"]["advice"] == "pip install 'esdctl[nudenet]'"
    assert not found["judges/nudenet"]["is_broken"]


def test_looking_for_judges_loads_no_library_of_theirs(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from esdctl.evaluation.usable import usable_judges;"
        f"list(usable_judges(Path({str(tmp_path)!r})));"
        "print([n for n in ('nudenet', 'onnxruntime', 'cv2', 'torchmetrics') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
