"""``train --quantize-frozen`` and ``--offload``, as a user sees them."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from esdctl.cli.app import run
from esdctl.erasing.plan import plan_erase
from esdctl.erasing.request import EraseRequest
from esdctl.storage.workspace import Workspace
from tests.checkpoints.tiny_flow_models import tiny_sd3
from tests.checkpoints.tiny_flux2_models import tiny_flux2
from tests.checkpoints.tiny_flux_models import tiny_flux

Captured = pytest.CaptureFixture[str]
MODELS: dict[str, Callable[[Path], Path]] = {
    "sd3": lambda folder: tiny_sd3(folder, has_t5=False),
    "flux": tiny_flux,
    "flux2": tiny_flux2,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("base")
    return {name: make(folder / name) for name, make in MODELS.items()}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def train(model: Path, output: str, *more: str) -> int:
    """Flags of ``more`` replace the others."""
    flags = {
        "--concept": "Rust", "--lr": "1e-3", "--iterations": "2", "--ddim-steps": "2",
        "--image-size": "32", "--devices": "cpu", "--output": output,
    }  # fmt: skip
    usual = [word for pair in flags.items() if pair[0] not in more for word in pair]
    return run(["train", "--model", str(model), "--no-contact-sheet", *usual, *more])


def change(model: Path, output: str) -> torch.Tensor:
    """What a run changed, as one vector."""
    base = load_file(model / "transformer" / "diffusion_pytorch_model.safetensors")
    delta = load_file(f"{output}/delta.safetensors")
    assert all(".attn.add_k_proj." in name or ".attn.add_v_proj." in name for name in delta)
    return torch.cat([(delta[name] - base[name]).flatten() for name in sorted(delta)])


@pytest.mark.usefixtures("bitsandbytes")
@pytest.mark.parametrize("family", MODELS)
def test_the_group_moves_nearly_as_beside_layers_in_full_precision(
    family: str, models: dict[str, Path]
) -> None:
    model = models[family]
    assert train(model, "whole") == 0
    whole = change(model, "whole")
    # The first steps of Adam go by the gradients' signs, which rounding turns where they are small.
    for kind, most in (("int8", 0.2), ("nf4", 0.8)):
        assert train(model, kind, "--quantize-frozen", kind, "--gradient-checkpointing") == 0
        moved = change(model, kind)
        assert 0 < (moved - whole).norm() < most * whole.norm()
        assert moved.isfinite().all()
        assert json.loads(Path(kind, "run.json").read_text())["settings"]["quantize_frozen"] == kind


@pytest.mark.usefixtures("bitsandbytes")
def test_a_resumed_run_goes_on_with_quantised_layers_to_the_same_bits(
    models: dict[str, Path], capsys: Captured
) -> None:
    line = ["--quantize-frozen", "nf4", "--save-every", "1"]
    for output in ("whole", "broken"):
        assert train(models["sd3"], output, *line) == 0
    for name in ("delta.safetensors", "manifest.json"):
        Path("broken", name).unlink(missing_ok=True)
    max(Path("broken/checkpoints").iterdir()).unlink()
    assert run(["train", "--resume", "broken", "--quantize-frozen", "int8"]) == 2
    assert "--quantize-frozen would change" in capsys.readouterr().err
    assert run(["train", "--resume", "broken", "--devices", "cpu", "--no-contact-sheet"]) == 0
    assert torch.equal(change(models["sd3"], "whole"), change(models["sd3"], "broken"))


@pytest.mark.usefixtures("bitsandbytes")
def test_a_contact_sheet_shows_what_quantised_layers_draw(tiny_model: Path) -> None:
    line = ["train", "--model", str(tiny_model), "--concept", "Rust", "--iterations", "1"]
    more = ["--quantize-frozen", "int8", "--devices", "cpu", "--output", "run"]
    assert run([*line, *more, "--ddim-steps", "2"]) == 0
    assert Path("run/contact_sheet.png").is_file()


def test_a_contact_sheet_reads_no_prompt_beside_the_denoiser(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*unused: object) -> None:
        raise MemoryError

    monkeypatch.setattr("esdctl.sampling.embeddings.encode_prompts", no_room)
    line = ["train", "--model", str(tiny_model), "--concept", "Rust", "--iterations", "1"]
    assert run([*line, "--devices", "cpu", "--output", "run", "--ddim-steps", "2"]) == 0
    assert Path("run/contact_sheet.png").is_file()


@pytest.mark.usefixtures("bitsandbytes")
def test_a_dry_run_measures_a_step_with_quantised_layers(
    models: dict[str, Path], capsys: Captured
) -> None:
    assert train(models["sd3"], "run", "--quantize-frozen", "int8", "--dry-run", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["settings"]["quantize_frozen"] == "int8"
    assert document["estimate"]["parts"]["a_step"] > 0


@pytest.mark.parametrize("option", [["--quantize-frozen", "int8"], ["--offload"]])
def test_a_method_that_leaves_no_layer_frozen_is_refused(
    option: list[str], models: dict[str, Path], capsys: Captured
) -> None:
    assert train(models["sd3"], "run", "--train-method", "full", *option) == 2
    told = capsys.readouterr().err
    assert "full trains every linear layer" in told
    assert not Path("run").exists()


def test_without_its_library_training_says_what_to_install(
    models: dict[str, Path], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "esdctl.models.quantization.find_spec",
        lambda name: None if name == "bitsandbytes" else found(name),
    )
    assert train(models["sd3"], "run", "--quantize-frozen", "nf4") == 2
    assert "pip install 'esdctl[quantize]'" in capsys.readouterr().err
    assert not Path("run").exists()


def test_offloading_changes_nothing_on_a_cpu_and_is_the_same_run(
    models: dict[str, Path], capsys: Captured
) -> None:
    assert train(models["sd3"], "run") == 0
    plain = load_file("run/delta.safetensors")
    shutil.rmtree("run")
    assert train(models["sd3"], "run", "--offload") == 0
    assert "offload changes nothing on cpu" in capsys.readouterr().err
    delta = load_file("run/delta.safetensors")
    assert all(torch.equal(delta[name], value) for name, value in plain.items())
    assert train(models["sd3"], "run") == 0
    assert "nothing to do" in capsys.readouterr().err


def test_an_edit_trains_nothing_and_uses_neither(tiny_model: Path) -> None:
    flags = {
        "model": str(tiny_model), "concept": "Rust", "method": "edit", "offload": True,
        "quantize_frozen": "int8",
    }  # fmt: skip
    notes = plan_erase(EraseRequest(flags), Workspace(Path())).notes
    for option in ("quantize_frozen", "offload"):
        assert any(f"{option} (flag) is not used: it needs method esd" in note for note in notes)


def test_only_quantisation_makes_another_run(tiny_model: Path) -> None:
    flags = {"model": str(tiny_model), "concept": "Rust"}
    digests = [
        plan_erase(EraseRequest({**flags, **more}), Workspace(Path())).digest
        for more in ({}, {"offload": True}, {"quantize_frozen": "int8"}, {"quantize_frozen": "nf4"})
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
