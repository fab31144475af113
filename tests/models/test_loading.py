"""From a name to a loaded model, and what is said when a part is missing or damaged."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from esdctl.checkpoints.changes.delta import read_delta, write_delta
from esdctl.errors import DeviceError, InputError, IntegrityError
from esdctl.models.devices import find_device
from esdctl.models.diffusers_pipeline import as_diffusers_pipeline
from esdctl.models.families.sd1 import FAMILY as SD1
from esdctl.models.named import default_model
from esdctl.models.resolve import resolve_model
from esdctl.models.stable_diffusion import load
from esdctl.models.text import encode_prompts
from esdctl.storage.workspace import Workspace

CPU = torch.device("cpu")


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_a_model_loads_in_fp32_without_gradients_and_says_nothing(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load(resolve_model(str(tiny_model), Workspace(Path())), CPU)
    assert capsys.readouterr() == ("", "")
    assert model.image_size == 64
    assert {p.dtype for p in model.denoiser.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in model.denoiser.parameters())


def test_the_digest_names_the_weights_not_the_place(tiny_model: Path, copy: Path) -> None:
    here, there = (resolve_model(str(p), Workspace(Path())) for p in (tiny_model, copy))
    assert here.digest() == there.digest()
    path = copy / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["conv_in.bias"] += 1
    save_file(tensors, path)
    assert here.digest() != resolve_model(str(copy), Workspace(Path())).digest()


@pytest.mark.parametrize(
    "part", ["unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"]
)
def test_a_missing_part_is_named(part: str, copy: Path) -> None:
    (copy / part).unlink()
    with pytest.raises(InputError, match=Path(part).name):
        resolve_model(str(copy), Workspace(copy))


@pytest.mark.parametrize(("part", "attribute"), [("unet", "denoiser"), ("vae", "vae")])
def test_a_truncated_part_is_named(part: str, attribute: str, copy: Path) -> None:
    path = copy / part / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises((InputError, IntegrityError), match=part):
        getattr(load(resolve_model(str(copy), Workspace(copy)), CPU), attribute)


@pytest.mark.parametrize("name", ["nowhere", "compvis", "diffuser", "owner/name"])
def test_an_unknown_model_is_an_input_error_with_a_hint(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        resolve_model(name, Workspace(tmp_path))
    assert caught.value.hint


def test_without_a_name_the_downloaded_model_comes_before_pocket(
    tiny_model: Path, tmp_path: Path
) -> None:
    assert default_model(Workspace(tmp_path)) == "pocket"
    shutil.copytree(tiny_model, tmp_path / "models/diffuser/style50")
    assert default_model(Workspace(tmp_path)) == "diffuser"
    assert resolve_model("diffusers", Workspace(tmp_path)).name == "diffuser"


def delta(path: Path, tiny_model: Path, tensors: dict[str, torch.Tensor]) -> None:
    base = resolve_model(str(tiny_model), Workspace(Path()))
    write_delta(path, tensors, {"base": base.name, "base_digest": base.digest()})


def test_a_delta_replaces_its_tensors_and_only_those(tiny_model: Path, tmp_path: Path) -> None:
    path, value = tmp_path / "d.safetensors", torch.full((8,), 3.0)
    delta(path, tiny_model, {"conv_in.bias": value})
    assert torch.equal(read_delta(path)["conv_in.bias"], value)
    before, after = (
        load(resolve_model(str(p), Workspace(tmp_path)), CPU).denoiser.state_dict()
        for p in (tiny_model, path)
    )
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed == ["conv_in.bias"]


@pytest.mark.parametrize("tensors", [{"no.such": torch.ones(1)}, {"conv_in.bias": torch.ones(9)}])
def test_a_delta_that_does_not_fit_is_refused(
    tensors: dict[str, torch.Tensor], tiny_model: Path, tmp_path: Path
) -> None:
    delta(tmp_path / "d.safetensors", tiny_model, tensors)
    with pytest.raises(IntegrityError, match=next(iter(tensors))):
        _ = load(resolve_model(str(tmp_path / "d.safetensors"), Workspace(tmp_path)), CPU).denoiser


def test_a_delta_of_another_base_is_refused(copy: Path, tmp_path: Path) -> None:
    delta(tmp_path / "d.safetensors", copy, {"conv_in.bias": torch.ones(8)})
    path = copy / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["conv_in.bias"] += 1
    save_file(tensors, path)
    with pytest.raises(IntegrityError, match="another base"):
        resolve_model(str(tmp_path / "d.safetensors"), Workspace(tmp_path))


@pytest.mark.parametrize("content", [b"", b"not a tensor in sight", b"\xff" * 64])
def test_what_is_no_delta_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    path.write_bytes(content)
    with pytest.raises((InputError, IntegrityError), match=r"d\.safetensors"):
        resolve_model(str(path), Workspace(tmp_path))


def test_an_absent_device_is_refused_with_what_exists() -> None:
    with pytest.raises(DeviceError) as caught:
        find_device("cuda:9")
    assert "cpu" in caught.value.hint


def test_the_schedule_is_read() -> None:
    config = {"prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    schedule = SD1.process.schedule({"beta_start": 0.00085, "beta_end": 0.012, **config}, (64, 64))
    assert (schedule.prediction_type, schedule.spacing) == ("v_prediction", "trailing")


def test_a_models_own_betas_are_used_wherever_it_runs(copy: Path) -> None:
    path = copy / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "beta_end": 0.02}))
    model = load(resolve_model(str(copy), Workspace(copy)), CPU)
    scheduler = as_diffusers_pipeline(model).scheduler
    assert scheduler.config.beta_end == 0.02
    torch.testing.assert_close(model.schedule.alphas_cumprod.float(), scheduler.alphas_cumprod)


def test_prompts_are_cleaned_like_clips_own_tokenizer_does(tiny_model: Path) -> None:
    model = load(resolve_model(str(tiny_model), Workspace(Path())), CPU)
    # mojibake, as found in I2P: ftfy mends it before tokenising
    clean, broken, other = encode_prompts(model, ["a café", "a cafÃ©", "a bar"]).embeddings
    assert clean.shape == (77, 16)
    assert torch.equal(clean, broken)
    assert not torch.equal(clean, other)
