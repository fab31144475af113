"""The embedded model as it ships: small, sound, and as good as its metrics say."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors import safe_open

from esdctl.erasing.train_methods import RULES, select
from esdctl.evaluation.judges.pocket import load_classifier
from esdctl.models.named import POCKET
from esdctl.models.resolve import resolve_model
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.pocket.canvas import OBJECTS, STYLE_NAMES, draw
from esdctl.pocket.metrics import FRESH
from esdctl.progress import Silent
from esdctl.sampling.plan import Picture
from esdctl.sampling.sample import sample_in_memory
from esdctl.storage.workspace import Workspace

METRICS = json.loads((POCKET / "metrics.json").read_text())


@pytest.fixture(scope="module")
def pocket() -> StableDiffusion:
    return load(resolve_model("pocket", Workspace(Path())), torch.device("cpu"))


def pictures(cells: list[tuple[str, str]], steps: int = 25) -> list[Picture]:
    return [
        Picture(
            f"{i}", f"A {o} image in {s.replace('_', ' ')} style.", 5_000 + i, 3.0, steps, 128, 128
        )
        for i, (s, o) in enumerate(cells)
    ]


def test_the_weights_take_at_most_32_mb_in_a_wheel(tmp_path: Path) -> None:
    archive = tmp_path / "weights.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(POCKET.rglob("*")):
            file.write(path, path.relative_to(POCKET))
    assert archive.stat().st_size <= 32 * 2**20


def test_the_weights_are_fp16() -> None:
    for path in POCKET.rglob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        assert kinds == {"F16"}, path


def test_the_figures_of_the_shipped_weights_reach_the_goal() -> None:
    assert METRICS["drawn"]["style_percent"] >= 97
    assert METRICS["drawn"]["object_percent"] >= 95
    assert METRICS["sampled"]["pictures"] >= len(STYLE_NAMES) * len(OBJECTS)
    assert METRICS["sampled"]["steps"] <= 50
    assert METRICS["sampled"]["style_percent"] >= 92
    assert METRICS["sampled"]["object_percent"] >= 85


def test_the_classifier_knows_drawn_pictures() -> None:
    classifier = load_classifier(POCKET / "classifier" / "model.safetensors")
    cells = [(s, o) for s in STYLE_NAMES for o in OBJECTS]
    verdicts = classifier.classify(np.stack([draw(s, o, FRESH + 77) for s, o in cells]))
    styles = np.mean([v.style == s for v, (s, _) in zip(verdicts, cells, strict=True)])
    objects = np.mean([v.object == o for v, (_, o) in zip(verdicts, cells, strict=True)])
    assert styles > 0.95
    assert objects > 0.92


def test_sampled_pictures_show_what_was_asked(pocket: StableDiffusion) -> None:
    classifier = load_classifier(POCKET / "classifier" / "model.safetensors")
    cells = [(STYLE_NAMES[i % len(STYLE_NAMES)], OBJECTS[i % len(OBJECTS)]) for i in range(26)]
    verdicts = classifier.classify(sample_in_memory(pocket, pictures(cells), Silent(), 13))
    styles = np.mean([v.style == s for v, (s, _) in zip(verdicts, cells, strict=True)])
    objects = np.mean([v.object == o for v, (_, o) in zip(verdicts, cells, strict=True)])
    assert styles > 0.8
    assert objects > 0.65


@pytest.mark.parametrize("method", RULES)
def test_a_train_method_selects_the_modules_of_sd_1(method: str, pocket: StableDiffusion) -> None:
    with torch.device("meta"):
        sd1 = UNet2DConditionModel(
            sample_size=64,
            cross_attention_dim=768,
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        )

    def chosen(unet: torch.nn.Module) -> set[str]:
        names = [name for name, _ in unet.named_parameters()]
        return set(select(method, names, pocket.family))

    # The mini U-Net's levels may need a shortcut where SD's does not, and the other way round.
    difference = chosen(pocket.denoiser) ^ chosen(sd1)
    assert all("conv_shortcut" in name for name in difference)


def test_our_sampler_gives_the_pictures_of_diffusers_pipeline(pocket: StableDiffusion) -> None:
    wanted = pictures([("Mosaic", "Cats"), ("Rust", "Towers")], steps=10)
    ours = sample_in_memory(pocket, wanted, Silent(), 2)
    pipe = StableDiffusionPipeline.from_pretrained(
        POCKET, torch_dtype=torch.float32, local_files_only=True, low_cpu_mem_usage=False
    )
    pipe.set_progress_bar_config(disable=True)
    for picture, pixels in zip(wanted, ours, strict=True):
        latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(picture.seed))
        theirs = pipe(
            picture.prompt, num_inference_steps=10, guidance_scale=3.0, latents=latents,
            output_type="np",
        ).images[0]  # fmt: skip
        assert np.abs(theirs * 255 - pixels.astype(float)).max() <= 2.5
