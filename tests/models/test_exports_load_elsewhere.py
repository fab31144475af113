"""What we write gives the same U-Net outputs in diffusers as our own sampler's model does."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file

from tests.checkpoints.tiny_models import tiny_compvis, tiny_folder
from tests.models.exports import distance, erase, export, output_of, own_output

CLOSE = 1e-5  # of outputs near 1, in fp32
BASES = ("pocket", "pocket-compvis", "sd1", "sd1-compvis", "sd2", "sd2-compvis", "sdxl",
         "sdxl-compvis")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A base in one of the layouts, an erasure of it, the base as a pipeline folder, and what our
    own sampler's model predicts once it is erased.
    """

    base: str
    delta: Path
    base_folder: Path
    own: torch.Tensor

    def pipeline(self, folder: Path) -> Any:
        """A diffusers pipeline in fp32."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.pipeline_class.from_pretrained(
                folder, torch_dtype=torch.float32, local_files_only=True
            )

    @property
    def pipeline_class(self) -> Any:
        is_xl = (self.base_folder / "text_encoder_2").is_dir()
        return StableDiffusionXLPipeline if is_xl else StableDiffusionPipeline


@pytest.fixture(scope="module", params=BASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Every family in either layout; the erasure changes cross-attention, biases too."""
    folder = tmp_path_factory.mktemp("base")
    family, _, is_compvis = request.param.partition("-")
    if family == "pocket":
        exported = folder / "pocket.safetensors"
        base = str(export("pocket", "compvis", exported)) if is_compvis else "pocket"
    elif is_compvis:
        base = str(tiny_compvis(family, folder / f"{family}.safetensors", has_config=True))
    else:
        base = str(tiny_folder(family, folder / family))
    delta = erase(base, folder / "delta.safetensors")
    return Case(base, delta, export(base, "diffusers", folder / "base"), own_output(delta))


def test_a_diffusers_folder_loads_with_from_pretrained(case: Case, tmp_path: Path) -> None:
    folder = export(case.delta, "diffusers", tmp_path / "folder")
    assert distance(output_of(case.pipeline(folder).unet), case.own) < CLOSE
    assert distance(own_output(folder), case.own) < CLOSE
    assert distance(own_output(case.base), case.own) > 1e-3


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_compvis_checkpoint_loads_with_from_single_file(
    suffix: str, case: Case, tmp_path: Path
) -> None:
    path = export(case.delta, "compvis", tmp_path / f"model{suffix}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline: Any = case.pipeline_class.from_single_file(
            path, config=str(case.base_folder), torch_dtype=torch.float32, local_files_only=True
        )
    assert distance(output_of(pipeline.unet), case.own) < CLOSE
    assert distance(own_output(path), case.own) < CLOSE


@pytest.mark.parametrize("form", ["delta", "authors"])
def test_plain_safetensors_load_into_a_unet(form: str, case: Case, tmp_path: Path) -> None:
    path = export(case.delta, form, tmp_path / "esd-Rust-from-Rust-esdx.safetensors")
    unet = UNet2DConditionModel.from_pretrained(
        case.base_folder, subfolder="unet", torch_dtype=torch.float32, local_files_only=True
    )
    missing, unexpected = unet.load_state_dict(load_file(path), strict=False)
    assert missing
    assert not unexpected
    assert distance(output_of(unet), case.own) < CLOSE


@pytest.mark.parametrize("method", ["esd-x-strict", "full"])
def test_a_lora_loads_with_load_lora_weights(method: str, case: Case, tmp_path: Path) -> None:
    """Beside it, biases and norms are put in place by hand: a LoRA cannot hold them."""
    delta = erase(case.base, tmp_path / "delta.safetensors", method, size=0.02)
    path = export(delta, "lora", tmp_path / "lora.safetensors", "--energy", "1")
    pipeline = case.pipeline(case.base_folder)
    left_out = {name: value for name, value in load_file(delta).items() if value.ndim < 2}
    assert bool(left_out) == (method == "full")
    pipeline.unet.load_state_dict(left_out, strict=False)
    own = own_output(delta)
    assert distance(output_of(pipeline.unet), own) > 1e-4
    pipeline.load_lora_weights(path)
    assert distance(output_of(pipeline.unet), own) < CLOSE
