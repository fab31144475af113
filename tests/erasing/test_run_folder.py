"""What a run leaves behind, and what it refuses."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file

from esdctl.checkpoints.changes.delta import read_delta_metadata
from esdctl.cli.app import run
from esdctl.models.resolve import resolve_model
from esdctl.models.stable_diffusion import load
from esdctl.storage.manifest import MANIFEST_NAME
from esdctl.storage.workspace import Workspace
from tests.checkpoints.tiny_models import tiny_compvis
from tests.erasing.conftest import Train


def test_a_run_holds_settings_log_checkpoints_delta_sheet_and_provenance(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--output", "run", sheet=True) == 0
    assert capsys.readouterr().out == "run\n"
    folder = tmp_path / "run"
    record = json.loads((folder / "run.json").read_text())
    assert record["settings"]["lr"] == 1e-3
    assert record["concept"]["name"] == "Rust"
    assert record["concept"]["prompts"] == ["An image of Rust."]
    assert len(record["base"]["sha256"]) == 64
    assert record["provenance"]
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert {"loss", "lr", "t", "seconds", "memory_bytes"} <= rows[0].keys()
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == [
        "step-0000002.pt", "step-0000004.pt",
    ]  # fmt: skip
    metadata = read_delta_metadata(folder / "delta.safetensors")
    assert (metadata["concept"], metadata["concept_kind"]) == ("Rust", "style")
    with Image.open(folder / "contact_sheet.png") as sheet:
        assert sheet.width > sheet.height > 300


@pytest.mark.parametrize("method", ["xattn", "noxattn", "esd-x-strict", "selflayer"])
def test_only_the_selected_parameters_change(
    method: str, train: Train, tiny_model: Path, tmp_path: Path
) -> None:
    assert train("--output", "run", "--train-method", method, "--iterations", "2") == 0
    before = UNet2DConditionModel.from_pretrained(tiny_model, subfolder="unet").state_dict()
    delta = load_file(tmp_path / "run/delta.safetensors")
    workspace = Workspace(tmp_path)
    after = load(resolve_model("run", workspace), torch.device("cpu")).denoiser.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert changed <= set(delta)
    for name, value in delta.items():
        assert torch.equal(after[name], value)


def test_a_finished_run_is_not_done_again(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    first = Path(capsys.readouterr().out.strip())
    stamp = (first / "delta.safetensors").stat().st_mtime_ns
    assert train() == 0
    captured = capsys.readouterr()
    assert Path(captured.out.strip()) == first
    assert "nothing to do" in captured.err
    assert (first / "delta.safetensors").stat().st_mtime_ns == stamp


def test_a_run_without_a_contact_sheet_is_finished_sound_and_gets_one_later(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--output", "run", "--no-contact-sheet", "--json") == 0
    assert json.loads(capsys.readouterr().out)["contact_sheet"] is None
    sheet = tmp_path / "run/contact_sheet.png"
    assert not sheet.exists()
    assert run(["verify", "run"]) == 0
    assert train("--resume", "run") == 0
    assert "nothing to do" in capsys.readouterr().err
    delta = (tmp_path / "run/delta.safetensors").read_bytes()
    assert train("--resume", "run", "--contact-sheet") == 0
    assert sheet.is_file()
    assert (tmp_path / "run/delta.safetensors").read_bytes() == delta
    assert run(["verify", "run"]) == 0


def test_the_conversion_of_a_pickle_is_told_while_planning(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_compvis("sd1", tmp_path / "model.ckpt", "state_dict")
    quick = ("--iterations", "1", "--image-size", "64", "--output", "run")
    assert train("--model", str(model), *quick) == 0
    told = capsys.readouterr().err
    assert f"reading {model} for the first time" in told
    assert "convert: done" in told
    assert train("--model", str(model), "--dry-run", "--no-estimate") == 0
    assert "for the first time" not in capsys.readouterr().err


def test_equal_seeds_give_equal_deltas_and_others_do_not(train: Train, tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert train("--output", name, "--seed", seed, "--iterations", "2") == 0
    a, b, c = (load_file(tmp_path / name / "delta.safetensors") for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


def test_json_describes_the_run(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--json", "--output", "run") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["run"] == "run"
    assert document["iterations"] == 4
    assert document["seconds"] > 0


def test_retained_concepts_are_in_the_log_and_pull_the_result(train: Train, tmp_path: Path) -> None:
    assert train("--output", "free") == 0
    assert train("--output", "held", "--retain-all") == 0
    rows = [json.loads(line) for line in Path("held/log.jsonl").read_text().splitlines()]
    assert rows[0]["retain_loss"] < 1e-10  # the student is the base still, but for rounding
    assert rows[-1]["retain_loss"] > 1e-9
    free, held = (load_file(tmp_path / n / "delta.safetensors") for n in ("free", "held"))
    assert not all(torch.equal(free[name], held[name]) for name in free)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--iterations", "0"], 2, "iterations"),
        (["--iterations", "4", "--pairs", "4"], 2, "keep one of them"),
        (["--lr", "nan"], 2, "lr"),
        (["--lr", "-1"], 2, "lr"),
        (["--negative-guidance", "inf"], 2, "negative_guidance"),
        (["--negative-guidance", "-1"], 2, "negative_guidance"),
        (["--start-guidance", "-0.5"], 2, "start_guidance"),
        (["--image-size", "100"], 2, "multiple of 8"),
        (["--ddim-steps", "1001"], 2, "ddim_steps"),
        (["--train-method", "xatn"], 2, "did you mean xattn"),
        (["--preset", "referense"], 2, "did you mean reference"),
        (["--retain", "Rust"], 2, "both erased and retained"),
        (["--separator", ""], 2, "separator"),
        (["--devices", "cuda:7"], 6, "this machine has: cpu"),
        (["--model", "nowhere"], 3, "nowhere"),
        (["--resume", "nowhere"], 3, "nowhere"),
        (["--output", "taken"], 2, "not a run folder"),
    ],
)
def test_bad_input_is_told_in_one_line_with_its_exit_status(
    arguments: list[str], status: int, message: str, train: Train, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/letter.txt").write_text("dear")
    assert train(*arguments) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert (tmp_path / "taken/letter.txt").read_text() == "dear"
    assert not (tmp_path / "outputs").exists()


def test_an_unknown_concept_offers_the_nearest(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(concept="Abstractonism") == 2
    assert "Abstractionism" in capsys.readouterr().err


def test_an_unknown_concept_is_allowed_with_a_prompt(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = ["--prompt", "a {concept}; the {concept}", "--separator", ";"]
    assert train(*prompt, "--output", "run", "--iterations", "1", concept="teapot") == 0
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["concept"]["prompts"] == ["a teapot", "the teapot"]


def test_a_run_that_was_killed_while_its_record_was_written_begins_anew(
    train: Train, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.json.elsewhere-4711-0.partial.json").write_text('{"sett')
    assert train("--output", "run", "--no-contact-sheet") == 0
    for last in (MANIFEST_NAME, "delta.safetensors", "config.yaml"):  # or before its settings were
        (tmp_path / "run" / last).unlink()
    assert train("--output", "run", "--no-contact-sheet") == 0
    assert run(["verify", str(tmp_path / "run")]) == 0


def test_other_settings_do_not_overwrite_a_run(
    train: Train, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "delta.safetensors").read_bytes()
    assert train("--output", "run", "--lr", "1e-4") == 2
    assert "other settings" in capsys.readouterr().err
    assert (finished / "delta.safetensors").read_bytes() == before


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--lr", "1e30", "--iterations", "20", "--save-every", "1", "--output", "run"]
    assert train(*arguments) == 1
    assert "not finite" in capsys.readouterr().err
    newest = sorted((tmp_path / "run/checkpoints").iterdir())
    for path in newest:
        state = torch.load(path, weights_only=True)
        assert all(value.isfinite().all() for value in state["selected"].values())
    assert not (tmp_path / "run/delta.safetensors").exists()


@pytest.mark.parametrize(("damage", "status"), [("truncate", 5), ("remove", 3)])
def test_a_damaged_run_is_no_model(
    damage: str, status: int, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    delta = finished / "delta.safetensors"
    if damage == "truncate":
        delta.write_bytes(delta.read_bytes()[:-100])
    else:
        delta.unlink()
    capsys.readouterr()
    assert run(["sample", "--model", "run", "--prompt", "x", "--steps", "1"]) == status
    captured = capsys.readouterr()
    assert "run" in captured.err
    assert captured.out == ""


def test_show_config_names_each_origin(
    train: Train,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "c.yaml").write_text("batch_size: 3\nlr: 2e-5\n")
    monkeypatch.setenv("ESDCTL_TRAIN_SEED", "9")
    assert train("--config", "c.yaml", "--show-config", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["settings"]
    assert rows["lr"] == {"value": 1e-3, "origin": "flag"}
    assert rows["seed"] == {"value": 9, "origin": "environment ESDCTL_TRAIN_SEED"}
    assert rows["batch_size"] == {"value": 3, "origin": "file c.yaml"}
    assert rows["negative_guidance"]["origin"] == "preset reference"
    assert rows["retain_all"]["origin"] in ("default", "preset reference")


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        (["--concept", "Rust"], "concept Rust"),
        (["--concept", "Dogs"], "concept Dogs"),
        (["--concept", "Dogs", "--template", "object"], "flag"),
        (["--concept", "no such thing", "--prompt", "a thing"], "default"),
    ],
)
def test_a_template_that_the_concept_decides_has_that_origin(
    given: list[str], origin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "--model", "pocket", "--root", str(tmp_path), *given, "--show-config"]
    assert run([*line, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["settings"]
    assert rows["template"]["origin"] == origin
    assert rows["image_size"] == {"value": None, "origin": "default"}
    assert run(line) == 0
    (shown,) = [row for row in capsys.readouterr().out.splitlines() if row.startswith("template ")]
    assert shown.endswith(origin)


def test_a_size_of_a_preset_that_the_model_replaces_is_the_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "--model", "pocket", "--root", str(tmp_path), "--concept", "Dogs"]
    assert run([*line, "--preset", "unlearn-canvas", "--show-config", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["settings"]
    assert rows["image_size"] == {"value": None, "origin": "model pocket"}


def test_the_authors_preset_converts_eta_and_says_so(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--preset", "authors-sd", "--show-config", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["settings"]["negative_guidance"]["value"] == 1.0
    assert "paper's convention" in document["note"]
    assert train("--preset", "authors-sd", "--erase-from", "metal", "--show-config", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["settings"]["negative_guidance"]["value"] == 2.0


def test_a_dry_run_writes_nothing(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--dry-run", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["prompts"] == ["An image of Rust."]
    assert train("--dry-run", "--no-estimate") == 0
    del document["estimate"]
    assert yaml.safe_load(capsys.readouterr().out) == document
    assert list(tmp_path.iterdir()) == []


def test_a_concept_that_the_model_was_not_taught_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", "--model", "pocket", "--concept", "Monet", "--dry-run"]) == 2
    assert "Monet" in capsys.readouterr().err
    assert (
        run(["train", "--model", "pocket", "--concept", "neon lines", "--dry-run", "--no-estimate"])
        == 0
    )
    assert "Neon_Lines" in capsys.readouterr().out
