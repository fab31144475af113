"""Tiny models of every family in both layouts, and one real step of training on them."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from esdctl.checkpoints.changes.export import write_compvis
from esdctl.checkpoints.layouts.model_files import open_model
from esdctl.diffusion.conditioning import Conditioning
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.loop import Training, train
from esdctl.erasing.esd.step import Embeddings
from esdctl.erasing.esd.student import Student, new_student
from esdctl.erasing.trackers import open_tracker
from esdctl.erasing.train_methods import select
from esdctl.models.devices import find_devices
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import load
from esdctl.models.text import encode_prompts
from esdctl.progress import Silent
from tests.checkpoints.tiny_models import FAMILIES, Family, tiny_folder

LAYOUTS = ("diffusers", "compvis")
SHAPE = (1, 4, 8, 8)


def write_families(folder: Path) -> dict[tuple[Family, str], Path]:
    """Each family's model in each layout; the same weights."""
    models: dict[tuple[Family, str], Path] = {}
    for family in FAMILIES:
        models[family, "diffusers"] = tiny_folder(family, folder / family)
        files = open_model(models[family, "diffusers"])
        parts = {part: files.read(part) for part in files.parts}
        suffix = "ckpt" if family in ("sd1", "sd2-v") else "safetensors"
        models[family, "compvis"] = folder / f"{family}.{suffix}"
        write_compvis(models[family, "compvis"], parts, files.architecture)
    return models


@cache
def pipeline(model: Path) -> Pipeline:
    """Opened once."""
    return Pipeline("tiny", model)


def embeddings_of(model: Path) -> Embeddings:
    """Of a concept and of the empty prompt."""
    rows: Conditioning = encode_prompts(
        load(pipeline(model), torch.device("cpu")), ["An image of Rust.", ""]
    )
    return Embeddings(rows[0], None, None, rows[1])


@dataclass(frozen=True)
class Case:
    """One cell of the matrix, or a variation of one.

    Args:
        model: a folder or a checkpoint.
        method: of training.
        devices: as the user writes them.
        dtype: what to compute in.
        gradient_checkpointing: whether to.
    """

    model: Path
    method: str = "xattn"
    devices: str = "cpu"
    dtype: torch.dtype = torch.float32
    gradient_checkpointing: bool = False

    def student(self) -> Student:
        """As ``esdctl train`` makes it."""
        first, *second = find_devices(self.devices)
        model = load(pipeline(self.model), first, self.dtype)
        copy = load(pipeline(self.model), second[0], self.dtype).denoiser if second else None
        every = [name for name, _ in model.denoiser.named_parameters()]
        names = select(self.method, every, model.family)
        student = new_student(
            model.denoiser, model.family.denoiser, names, model.denoiser_values, self.dtype, copy
        )
        if self.gradient_checkpointing:
            model.denoiser.enable_gradient_checkpointing()
        return student

    def one_step(self, embeddings: Embeddings, folder: Path) -> Student:
        """The student after one step of the real loop."""
        student = self.student()
        config = TrainConfig(
            concept="Rust", ddim_steps=2, iterations=1, lr=1e-3,
            gradient_checkpointing=self.gradient_checkpointing,
        )  # fmt: skip
        schedule = load(pipeline(self.model), torch.device("cpu")).schedule
        train(Training(
            student, schedule, embeddings, config, SHAPE, folder, folder / "log.jsonl",
            open_tracker(config, folder, Silent()), Silent(), lambda: False,
        ))  # fmt: skip
        return student


def sha256(student: Student) -> str:
    """Of the selected parameters, names and bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(student.selected.items()):
        digest.update(name.encode() + value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
