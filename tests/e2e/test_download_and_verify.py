"""unlearn_diff's printed commands, from an empty folder, against a hub on loopback."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.storage.manifest import MANIFEST_NAME
from tests.e2e.conftest import FOLDERS, ROWS, UNET, WORKFLOW, Capture, zipped
from tests.hub_server import HubServer
from tests.verification.conftest import flip


def downloaded(root: Path) -> list[Path]:
    """Every file of the published folders, manifests included."""
    return sorted(file for name in FOLDERS for file in (root / name).rglob("*") if file.is_file())


def test_the_workflow_fills_an_empty_folder_and_verify_passes(
    filled: Path, capsys: Capture
) -> None:
    assert run(["verify", "--deep"]) == 0
    assert capsys.readouterr().out.splitlines() == FOLDERS
    visible = {path.name for path in filled.rglob("*") if path.name[0] != "."}
    assert not any(name.endswith((".zip", ".partial")) for name in visible)
    hidden = {p.name for p in filled.rglob(".*") if not p.name.endswith(".lock")}
    assert hidden == {MANIFEST_NAME}
    assert (filled / "models/compvis/style50/compvis.ckpt").stat().st_size == 300_000


def test_verify_needs_no_network(filled: Path, hub: HubServer) -> None:
    assert run(["verify"]) == 0
    assert hub.requests == []


@pytest.mark.parametrize("command", WORKFLOW)
def test_a_rerun_makes_no_request_and_says_so(
    filled: Path, hub: HubServer, command: tuple[str, ...], capsys: Capture
) -> None:
    before = {path: path.stat().st_mtime_ns for path in downloaded(filled)}
    assert run(command) == 0
    shown = capsys.readouterr()
    assert hub.requests == []
    assert "already complete" in shown.err
    assert shown.out.strip() in FOLDERS
    assert {path: path.stat().st_mtime_ns for path in downloaded(filled)} == before


def test_a_flipped_byte_in_any_file_is_named_and_mended(filled: Path, capsys: Capture) -> None:
    draw = random.Random(11)
    files = downloaded(filled)
    assert len(files) > 25
    pictures = [path for path in files if path.suffix == ".jpg"]
    for path in [*set(files).difference(pictures), *draw.sample(pictures, 3)]:
        whole = path.read_bytes()
        flip(path, draw.randrange(len(whole)))
        assert run(["verify"]) == 1
        assert path.name in capsys.readouterr().err
        assert run(["verify", "--repair"]) == 0, capsys.readouterr().err
        assert path.read_bytes() == whole, path
        assert capsys.readouterr().out.splitlines() == FOLDERS


def test_repair_moves_only_what_is_damaged(filled: Path, hub: HubServer) -> None:
    flip(filled / "data/quick-canvas-dataset/sample/Abstractionism/Architectures/7.jpg", 30)
    kept = filled / UNET
    before = kept.stat()
    assert run(["verify", "--repair", "--quiet"]) == 0
    resolved = [request.path for request in hub.requests if "resolve" in request.path]
    assert resolved
    assert all("sample-quick-unlearn-canvas.zip" in path for path in resolved)
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_missing_folder_and_a_missing_file_come_back(filled: Path) -> None:
    shutil.rmtree(filled / "models/compvis")
    (filled / UNET).unlink()
    assert run(["verify", "compvis", "diffuser"]) == 1
    assert run(["verify", "compvis", "diffuser", "--repair"]) == 0


def test_a_folder_that_another_program_unpacked_is_adopted(filled: Path, hub: HubServer) -> None:
    manifest = filled / "models/diffuser" / MANIFEST_NAME
    written = manifest.read_bytes()
    manifest.unlink()
    assert run(["verify", "diffuser"]) == 1
    assert run(["verify", "diffuser", "--repair"]) == 0
    assert manifest.read_bytes() == written


def test_a_lost_manifest_does_not_bless_a_damaged_file(filled: Path, capsys: Capture) -> None:
    (filled / "models/diffuser" / MANIFEST_NAME).unlink()
    flip(filled / UNET, 500)
    assert run(["verify", "diffuser", "--repair"]) == 3
    assert "style50/unet/diffusion_pytorch_model.safetensors is not what" in capsys.readouterr().err
    assert not (filled / "models/diffuser" / MANIFEST_NAME).exists()


def test_a_full_data_set_is_a_tree_and_can_be_mended(
    root: Path, hub: HubServer, capsys: Capture
) -> None:
    assert run(["dataset", "fetch", "i2p", "--full"]) == 0
    table = root / "data/i2p-dataset/full/prompts/i2p.csv"
    assert table.read_bytes() == ROWS.read_bytes()
    for damaged in (table, table.parents[1] / MANIFEST_NAME):
        whole = damaged.read_bytes()
        flip(damaged, 40)
        assert run(["verify"]) == 1
        assert run(["verify", "--repair"]) == 0, capsys.readouterr().err
        assert damaged.read_bytes() == whole


def test_a_hub_model_arrives_as_a_pipeline_without_other_copies(root: Path, hub: HubServer) -> None:
    assert run(["download", "hub:runwayml/sd"]) == 0
    folder = root / "models/hub/runwayml--sd"
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("[!.]*.*")) == [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    flip(folder / "model_index.json", 1)
    assert run(["verify"]) == 1
    assert run(["verify", "--repair"]) == 0


def test_parts_of_a_hub_model_can_be_mended(root: Path, hub: HubServer) -> None:
    assert run(["download", "hub:runwayml/sd", "--include", "*.json"]) == 0
    folder = root / "models/hub/runwayml--sd"
    assert not list(folder.rglob("*.safetensors"))
    flip(folder / "unet/config.json", 1)
    assert run(["verify"]) == 1
    assert run(["verify", "--repair"]) == 0


def test_a_dry_run_tells_bytes_place_and_disk_and_writes_nothing(
    root: Path, hub: HubServer, capsys: Capture
) -> None:
    assert run(["download", "compvis", "diffusers", "--dry-run", "--json"]) == 0
    shown = capsys.readouterr()
    compvis, diffuser = json.loads(shown.out)
    assert compvis["bytes_to_move"] > 300_000
    assert compvis["peak_disk"] <= 1.05 * compvis["unpacked"]
    assert (diffuser["target"], diffuser["files"]) == ("models/diffuser", 3)
    assert {"free_disk", "is_finished", "source"} <= diffuser.keys()
    assert "peak disk" in shown.err
    assert list(root.iterdir()) == []


def test_several_names_and_json_lines(root: Path, hub: HubServer, capsys: Capture) -> None:
    assert run(["download", "compvis", "diffuser", "--jsonl", "--quiet"]) == 0
    shown = capsys.readouterr()
    events = [json.loads(line) for line in shown.out.splitlines()]
    assert [(event["name"], event["files"]) for event in events] == [
        ("compvis", 1),
        ("diffuser", 3),
    ]
    assert shown.err == ""


def test_the_users_own_catalogue_can_be_fetched(root: Path, hub: HubServer) -> None:
    address = hub.address("models/nebulaanish/unlearn_models", "compvis.zip")
    (root / "mine.yaml").write_text(
        "artifacts:\n- {name: mine, kind: model, folder: models/mine, "
        f"zip: {{url: '{address}'}}}}\n"
    )
    assert run(["download", "mine", "--catalog", "mine.yaml"]) == 0
    assert (root / "models/mine/style50/compvis.ckpt").is_file()
    assert run(["verify", "--catalog", "mine.yaml"]) == 0


def test_a_missing_source_is_a_network_error_and_leaves_nothing(
    root: Path, hub: HubServer, capsys: Capture
) -> None:
    assert run(["dataset", "fetch", "unlearn-canvas", "--full"]) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "404" in shown.err
    assert not [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_zip_without_the_file_that_the_catalogue_names_is_refused(
    root: Path, hub: HubServer, capsys: Capture
) -> None:
    hub.commit("models/nebulaanish/unlearn_models", {"compvis.zip": zipped({"other.ckpt": b"x"})})
    assert run(["download", "compvis"]) == 5
    assert "lacks style50/compvis.ckpt" in capsys.readouterr().err
    assert not [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_offline_refuses_to_fetch_and_still_verifies(
    filled: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run(["verify"]) == 0
    assert run(["download", "compvis"]) == 0
    assert run(["download", "hub:runwayml/sd"]) == 4


def test_what_a_killed_transfer_left_is_cleared_away(filled: Path, hub: HubServer) -> None:
    for name in (".compvis.staging", ".compvis.repair"):
        (filled / "models" / name).mkdir()
        (filled / "models" / name / "half").write_bytes(b"x")
    assert run(["verify", "compvis"]) == 1
    assert run(["verify", "compvis", "--repair"]) == 0
    assert hub.requests == []


def test_ctrl_c_keeps_what_came_and_the_same_command_goes_on(
    root: Path, hub: HubServer, capsys: Capture
) -> None:
    archive = zipped({"style50/compvis.ckpt": random.Random(5).randbytes(1_500_000)})
    hub.commit("models/nebulaanish/unlearn_models", {"compvis.zip": archive})
    command = [sys.executable, "-m", "esdctl", "download", "compvis"]
    process = subprocess.Popen(
        [*command, "--limit-rate", "200k"], cwd=root, stderr=subprocess.PIPE, text=True
    )
    while not (root / "models/.compvis.staging").exists():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "hint: run the same command again to go on" in told
    assert not (root / "models/compvis").exists()
    assert run(["verify", "compvis"]) == 1
    assert run(["download", "compvis"]) == 0
    assert run(["verify"]) == 0


def test_every_transfer_option_reaches_the_engine(root: Path, hub: HubServer) -> None:
    flags = ["--proof=whole", "--connections=2", "--retries=1", "--timeout=5", "--limit-rate=50M"]
    assert run(["download", "compvis", *flags, "--endpoint", hub.endpoint]) == 0
    hub.token = "secret"
    assert run(["download", "compvis", "--refresh", *flags]) == 4
