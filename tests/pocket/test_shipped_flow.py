"""The embedded flow-matching model as it ships: small, sound, diffusers', and erased in seconds."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from safetensors import safe_open

from esdctl.cli.app import run
from esdctl.datasets.unlearn_canvas import evaluation_prompt
from esdctl.evaluation.judges.pocket import load_classifier
from esdctl.models.named import EMBEDDED
from esdctl.models.resolve import resolve_model
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.pocket.canvas import OBJECTS, STYLE_NAMES
from esdctl.progress import Silent
from esdctl.sampling.plan import Picture
from esdctl.sampling.sample import Pixels, sample_in_memory
from esdctl.storage.workspace import Workspace

FOLDER = EMBEDDED["pocket-flow"]
METRICS = json.loads((FOLDER / "metrics.json").read_text())
JUDGE = load_classifier(FOLDER / "classifier" / "model.safetensors")


def loaded(name: str, root: Path) -> StableDiffusion:
    return load(resolve_model(name, Workspace(root)), torch.device("cpu"))


def sampled(model: StableDiffusion, cells: list[tuple[str, str]], steps: int) -> Pixels:
    asked = [
        Picture(f"{i}", evaluation_prompt(*cell), 50 + i, 3.0, steps, 128, 128)
        for i, cell in enumerate(cells)
    ]
    return sample_in_memory(model, asked, Silent(), 13)


def test_the_weights_take_at_most_24_mb_in_a_wheel(tmp_path: Path) -> None:
    archive = tmp_path / "weights.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(FOLDER.rglob("*")):
            file.write(path, path.relative_to(FOLDER))
    assert archive.stat().st_size <= 24e6


def test_the_weights_are_fp16_but_for_the_table_of_positions() -> None:
    for path in FOLDER.rglob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        assert {name for name, kind in kinds.items() if kind != "F16"} <= {"pos_embed.pos_embed"}


def test_the_figures_of_the_shipped_weights_reach_the_goal() -> None:
    assert METRICS["sampled"]["pictures"] == len(STYLE_NAMES) * len(OBJECTS)
    assert METRICS["sampled"]["style_percent"] >= 92
    assert METRICS["sampled"]["object_percent"] >= 85


def test_sampled_pictures_show_what_was_asked(tmp_path: Path) -> None:
    cells = [(style, OBJECTS[(3 * i) % len(OBJECTS)]) for i, style in enumerate(STYLE_NAMES)]
    verdicts = JUDGE.classify(sampled(loaded("pocket-flow", tmp_path), cells, steps=8))
    both = [(v.style, v.object) for v in verdicts]
    assert np.mean([pair == cell for pair, cell in zip(both, cells, strict=True)]) > 0.8


def test_a_picture_is_that_of_diffusers(tmp_path: Path) -> None:
    pipe = StableDiffusion3Pipeline.from_pretrained(
        FOLDER, text_encoder_3=None, tokenizer_3=None, dtype=torch.float32
    )
    pipe.set_progress_bar_config(disable=True)
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(50))
    theirs = pipe(
        "A Dogs image in Rust style.", num_inference_steps=5, guidance_scale=3.0, latents=latents,
        output_type="np", max_sequence_length=32,
    ).images[0]  # fmt: skip
    ours = sampled(loaded("pocket-flow", tmp_path), [("Rust", "Dogs")], steps=5)[0]
    assert np.abs((theirs * 255).round() - ours).max() <= 2


@pytest.fixture(scope="module")
def erased(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("flow")
    line = ["train", "--model", "pocket-flow", "--concept", "Mosaic", "--output", str(root / "run")]
    assert run([*line, "--root", str(root), "--no-contact-sheet", "--devices", "cpu"]) == 0
    return root / "run"


def test_the_default_erasure_takes_the_concept_and_leaves_the_others(erased: Path) -> None:
    cells = [("Mosaic", name) for name in OBJECTS[:6]]
    others = [(style, OBJECTS[i]) for i, style in enumerate(STYLE_NAMES) if style != "Mosaic"]
    verdicts = JUDGE.classify(sampled(loaded(str(erased), erased), [*cells, *others], steps=6))
    assert [v.style for v in verdicts[:6]].count("Mosaic") <= 1
    kept = [v.style == s for v, (s, _) in zip(verdicts[6:], others, strict=True)]
    assert np.mean(kept) >= 0.75


def test_the_default_erasure_moves_the_texts_keys_and_values_alone(erased: Path) -> None:
    with safe_open(erased / "delta.safetensors", framework="pt") as file:
        names = list(file.keys())
    assert names
    assert all(".attn.add_k_proj." in name or ".attn.add_v_proj." in name for name in names)
