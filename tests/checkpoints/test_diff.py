"""Two models are compared tensor by tensor, and told apart module by module."""

import pytest
import torch

from esdctl.checkpoints.changes.diff import compare
from esdctl.models.families.family import Part

Model = dict[Part, dict[str, torch.Tensor]]

ATTENTION = "mid_block.attentions.0.transformer_blocks.0.attn2"
NAMES = (
    f"{ATTENTION}.to_k.weight",
    f"{ATTENTION}.to_out.0.bias",
    "up_blocks.1.resnets.2.conv1.weight",
    "conv_in.weight",
)


def model() -> Model:
    return {
        "unet": {name: torch.ones(4) for name in NAMES},
        "vae": {"quant_conv.bias": torch.ones(2)},
    }


def changed(name: str, value: torch.Tensor) -> Model:
    new = model()
    new["unet"][name] = value
    return new


def test_equal_models_do_not_differ_even_in_another_precision() -> None:
    halves: Model = {part: {n: t.half() for n, t in ts.items()} for part, ts in model().items()}
    difference = compare(model(), halves)
    assert not difference.tensors
    assert not difference.misshapen
    assert not difference.only_in_first
    assert not difference.only_in_second
    assert difference.same == 5


def test_a_change_is_told_by_tensor_and_by_module() -> None:
    difference = compare(model(), changed(NAMES[0], torch.tensor([1.0, 1.0, 1.0, 3.0])))
    (tensor,) = difference.tensors
    assert tensor.name == f"unet.{NAMES[0]}"
    assert tensor.largest == 2.0
    assert tensor.relative == pytest.approx(1.0)
    (module,) = difference.modules
    assert module.module == f"unet.{ATTENTION}"
    assert (module.changed, module.tensors, module.parameters) == (1, 2, 4)
    assert module.relative == pytest.approx(2 / 8**0.5)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        (NAMES[1], ATTENTION),
        (NAMES[2], "up_blocks.1.resnets.2"),
        ("down_blocks.0.downsamplers.0.conv.bias", "down_blocks.0.downsamplers.0"),
        ("encoder.layers.3.self_attn.q_proj.weight", "encoder.layers.3.self_attn"),
        ("encoder.layers.3.layer_norm1.bias", "encoder.layers.3"),
        ("conv_in.weight", "conv_in"),
    ],
)
def test_a_module_is_what_a_reader_thinks_in(name: str, module: str) -> None:
    difference = compare({"unet": {name: torch.zeros(1)}}, {"unet": {name: torch.ones(1)}})
    assert difference.modules[0].module == f"unet.{module}"
    assert difference.document()["modules"][0]["relative"] is None  # type: ignore[index]  # of zero


def test_what_only_one_of_them_has_and_other_shapes_are_told() -> None:
    second = changed("conv_in.weight", torch.ones(9))
    del second["unet"][NAMES[0]]
    second["unet"]["extra.weight"] = torch.ones(1)
    del second["vae"]
    difference = compare(model(), second)
    assert difference.only_in_first == (f"unet.{NAMES[0]}", "vae.quant_conv.bias")
    assert difference.only_in_second == ("unet.extra.weight",)
    assert difference.misshapen == ("unet.conv_in.weight (4,) (9,)",)
