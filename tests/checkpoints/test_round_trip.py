"""CompVis -> diffusers -> CompVis and back, bit for bit, with diffusers as the oracle."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.loaders import single_file_utils as oracle
from transformers import CLIPTextConfig, CLIPTextModel

from esdctl.checkpoints.layouts.architecture import Architecture
from esdctl.checkpoints.layouts.compvis import CompvisModel, compvis_tensors, read_compvis
from esdctl.checkpoints.layouts.model_files import open_model
from esdctl.checkpoints.layouts.schedule_buffers import SCHEDULE_BUFFERS
from esdctl.errors import InputError
from esdctl.models.families.family import Part
from esdctl.models.named import POCKET
from tests.checkpoints.held_tensors import HeldTensors
from tests.checkpoints.tiny_models import FAMILIES, Family, tiny_folder

Tensors = dict[str, torch.Tensor]
Parts = dict[Part, Tensors]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@cache
def model(family: Family | str, models: Path) -> tuple[Parts, Architecture]:
    """A model's parts under diffusers' names; ``pocket`` is one of the families here."""
    folder = POCKET
    if family != "pocket":
        folder = tiny_folder(family, models / family)  # type: ignore[arg-type]
    files = open_model(folder)
    return {part: dict(files.read(part)) for part in files.parts}, files.architecture


def checkpoint(family: str, models: Path) -> tuple[Tensors, Architecture]:
    parts, architecture = model(family, models)
    return compvis_tensors(parts, architecture), architecture


def reread(tensors: Tensors, architecture: Architecture) -> CompvisModel:
    return read_compvis(HeldTensors(tensors), architecture)


def assert_same(ours: Tensors, theirs: Tensors) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype, name
        assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("family", [*FAMILIES, "pocket"])
def test_parts_come_back_from_a_checkpoint_bit_for_bit(family: str, models: Path) -> None:
    parts, architecture = model(family, models)
    back = reread(compvis_tensors(parts, architecture), architecture)
    assert back.keys() == parts.keys()
    for part, tensors in parts.items():
        assert_same(dict(back[part]), tensors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_comes_back_from_its_parts_bit_for_bit(
    family: str, dtype: torch.dtype, models: Path
) -> None:
    made, architecture = checkpoint(family, models)
    generator = torch.Generator().manual_seed(1)
    original = {
        name: torch.randn(tensor.shape, generator=generator).to(dtype)
        for name, tensor in made.items()  # the schedule, the last layer of OpenCLIP and all else
    }
    found = reread(original, architecture)
    assert_same(compvis_tensors(found, architecture, found.unused), original)


@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_converter_finds_the_same_unet_and_vae(family: str, models: Path) -> None:
    parts, architecture = model(family, models)
    tensors = compvis_tensors(parts, architecture)
    unet = oracle.convert_ldm_unet_checkpoint(dict(tensors), architecture.denoiser)
    assert_same(unet, parts["unet"])
    vae = oracle.convert_ldm_vae_checkpoint(dict(tensors), architecture.vae)
    assert_same(vae, parts["vae"])


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_diffusers_converter_finds_the_same_clip(family: str, models: Path) -> None:
    tensors, _ = checkpoint(family, models)
    found = oracle.convert_ldm_clip_checkpoint(dict(tensors))
    numbers = found.pop("text_model.embeddings.position_ids")
    assert numbers.tolist() == [list(range(77))]
    parts, _ = model(family, models)
    assert_same(
        {name.removeprefix("text_model."): found[name] for name in found}, parts["text_encoder"]
    )


@pytest.mark.parametrize(
    ("family", "part", "prefix"),
    [
        ("sd2", "text_encoder", "cond_stage_model.model."),
        ("sdxl", "text_encoder_2", "conditioner.embedders.1.model."),
    ],
)
def test_diffusers_converter_finds_the_same_open_clip(
    family: str, part: Part, prefix: str, models: Path
) -> None:
    tensors, _ = checkpoint(family, models)
    found = oracle.convert_open_clip_checkpoint(None, dict(tensors), prefix)
    ours = model(family, models)[0][part]
    theirs = {name.removeprefix("text_model."): tensor for name, tensor in found.items()}
    assert_same({name: theirs[name] for name in ours}, ours)


def test_the_last_layer_made_for_sd2_hands_on_what_it_gets(models: Path) -> None:
    parts, architecture = model("sd2", models)
    layers = architecture.config("text_encoder")["num_hidden_layers"]
    deeper = replace(
        architecture,
        configs={
            **architecture.configs,
            "text_encoder": {
                **architecture.config("text_encoder"),
                "num_hidden_layers": layers + 1,
            },
        },
    )
    with_last = reread(compvis_tensors(parts, architecture), deeper)["text_encoder"]
    tokens = torch.tensor([[49_406, 320, 1929, 49_407]])
    assert torch.equal(
        encoded(dict(with_last), deeper, tokens),
        encoded(parts["text_encoder"], architecture, tokens),
    )


def encoded(tensors: Tensors, architecture: Architecture, tokens: torch.Tensor) -> torch.Tensor:
    encoder = CLIPTextModel(CLIPTextConfig(**architecture.config("text_encoder"))).train(False)
    encoder.load_state_dict({name: tensors[name] for name in tensors})
    with torch.no_grad():
        hidden: torch.Tensor = encoder(tokens).last_hidden_state
    return hidden


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_a_complete_checkpoint_carries_the_schedule_that_diffusers_computes(
    family: str, models: Path
) -> None:
    tensors, architecture = checkpoint(family, models)
    theirs = DDIMScheduler.from_config(dict(architecture.scheduler)).alphas_cumprod
    torch.testing.assert_close(tensors["alphas_cumprod"], theirs)
    assert all(tensors[name].shape == (1000,) for name in SCHEDULE_BUFFERS)
    assert all(tensors[name].isfinite().all() for name in SCHEDULE_BUFFERS)


def test_an_xl_checkpoint_of_v_prediction_carries_its_mark(models: Path) -> None:
    parts, architecture = model("sdxl", models)
    predicting = replace(architecture, prediction_type="v_prediction")
    assert "v_pred" in compvis_tensors(parts, predicting)
    assert "v_pred" not in compvis_tensors(parts, architecture)


def test_a_part_is_read_without_touching_the_others(models: Path) -> None:
    tensors, architecture = checkpoint("sd1", models)
    file = HeldTensors(tensors)
    found = read_compvis(file, architecture)
    assert file.was_read == []
    dict(found["vae"])
    assert {name.partition(".")[0] for name in file.was_read} == {"first_stage_model"}


def test_reading_makes_no_second_copy(models: Path) -> None:
    tensors, architecture = checkpoint("sdxl", models)
    storages = {tensor.untyped_storage().data_ptr() for tensor in tensors.values()}
    found = reread(tensors, architecture)
    copies = [
        name
        for part in found.values()
        for name, tensor in part.items()
        if tensor.untyped_storage().data_ptr() not in storages
    ]
    assert copies == ["text_projection.weight"]  # transposed


def test_attention_that_was_stored_as_linear_layers_is_read_too(models: Path) -> None:
    parts, architecture = model("sd1", models)
    tensors = compvis_tensors(parts, architecture)
    for name in [name for name in tensors if ".mid.attn_1." in name and tensors[name].ndim == 4]:
        tensors[name] = tensors[name][:, :, 0, 0]
    assert_same(dict(reread(tensors, architecture)["vae"]), parts["vae"])


@pytest.mark.parametrize("lacking", ["vae", "text_encoder_2"])
def test_a_checkpoint_is_not_written_without_a_part(lacking: Part, models: Path) -> None:
    parts, architecture = model("sdxl", models)
    others = {part: tensors for part, tensors in parts.items() if part != lacking}
    with pytest.raises(InputError, match=f"the {lacking} does not have the tensors"):
        compvis_tensors(others, architecture)


def test_a_checkpoint_is_not_written_without_a_tensor(models: Path) -> None:
    parts, architecture = model("sd1", models)
    unet = {name: tensor for name, tensor in parts["unet"].items() if name != "conv_in.bias"}
    with pytest.raises(InputError, match=r"conv_in\.bias"):
        compvis_tensors({**parts, "unet": unet}, architecture)
