"""One optimiser step of ESD-x on an SD 1.x of full size, whose weights are random."""

from pathlib import Path

import pytest
import torch

from esdctl.diffusion.conditioning import Conditioning
from esdctl.esd.config import TrainConfig
from esdctl.esd.step import Embeddings, step_loss
from esdctl.esd.student import new_student
from esdctl.esd.train_methods import select
from esdctl.esd.trajectory import draw
from esdctl.models.resolve import resolve_model
from esdctl.models.stable_diffusion import load
from esdctl.storage.workspace import find_workspace
from tests.checkpoints.full_size import write_full_size


@pytest.mark.slow
def test_a_step_moves_the_80_tensors_of_esd_x_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "full.safetensors"
    write_full_size("sd1", path, torch.float16)
    model = load(resolve_model(str(path), find_workspace(tmp_path)), torch.device("cpu"))
    names = select("xattn", [name for name, _ in model.unet.named_parameters()])
    student = new_student(model.unet, names)
    assert sum(parameter.numel() for parameter in student.selected.values()) == 43_962_560
    others = {n: p for n, p in model.unet.named_parameters() if n not in student.selected}
    sums = {name: parameter.double().sum().item() for name, parameter in others.items()}
    generator = torch.Generator().manual_seed(0)
    texts = Conditioning(torch.randn(2, 77, 768, generator=generator))
    config = TrainConfig(ddim_steps=2, image_size=64, lr=1e-3)
    drawn = draw(0, 0, config.ddim_steps, 1, 0, (1, 4, 8, 8))
    embeddings = Embeddings(texts[0], None, None, texts[1])
    optimizer = torch.optim.Adam(student.selected.values(), lr=config.lr)
    step_loss(student, model.schedule, embeddings, config, drawn).total(0).backward()
    assert all(parameter.grad is None for parameter in others.values())
    optimizer.step()
    assert len(student.selected) == 80
    for name, parameter in student.selected.items():
        assert not torch.equal(parameter, student.frozen[name]), name
    assert {n: p.double().sum().item() for n, p in others.items()} == sums
