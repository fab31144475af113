"""The backward pass stops at the first parameter that moves; frozen passes keep nothing for it."""

from pathlib import Path

import pytest
import torch

from esdctl.diffusion.conditioning import Conditioning
from esdctl.erasing.esd.student import Student
from tests.checkpoints.tiny_models import tiny_folder
from tests.erasing.families import SHAPE, Case

T = torch.tensor([5])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("sd1", tmp_path_factory.mktemp("sd1") / "model")


def condition(student: Student) -> Conditioning:
    keys = student.network.get_parameter(
        "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    )
    return Conditioning(torch.ones(1, 77, keys.shape[1]))


def modules_with_gradient(model: Path, method: str) -> set[str]:
    """The U-Net's outer parts whose output has a gradient to pass on."""
    student, found = Case(model, method).student(), set()

    def watch(name: str) -> None:
        def note(module: torch.nn.Module, inputs: object, output: object) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if isinstance(first, torch.Tensor) and first.requires_grad:
                found.add(name)

        student.network.get_submodule(name).register_forward_hook(note)

    for name in ("conv_in", "time_embedding", "down_blocks.0", "down_blocks.3", "mid_block"):
        watch(name)
    watch("up_blocks.3")
    student.denoise(torch.zeros(SHAPE), T, condition(student))
    return found


def test_what_lies_before_the_first_selected_parameter_has_no_gradient(model: Path) -> None:
    assert modules_with_gradient(model, "xlayer") == {"up_blocks.3"}
    assert "conv_in" not in modules_with_gradient(model, "xattn")
    assert "time_embedding" not in modules_with_gradient(model, "noxattn")
    assert {"conv_in", "time_embedding"} <= modules_with_gradient(model, "full")


def test_the_frozen_pass_keeps_nothing_for_a_backward_pass(model: Path) -> None:
    student, kept = Case(model, "full").student(), []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        answer = student.denoise_frozen(torch.zeros(SHAPE), T, condition(student))
    assert not kept
    assert not answer.requires_grad
