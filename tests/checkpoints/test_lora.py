"""A LoRA holds the best low-rank change, under names that others read, and says what it lacks."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from esdctl.checkpoints.changes.lora import Pair, factorise, kohya_modules, write_lora
from esdctl.checkpoints.changes.lora_reading import read_lora
from esdctl.checkpoints.tensor_file import open_tensors
from esdctl.errors import InputError, UsageError
from esdctl.models.families.registry import family_named
from tests.checkpoints.tiny_models import Family, tiny_parts

LINEAR, CONV, BIAS = "a.to_k.weight", "a.conv1.weight", "a.conv1.bias"


def changes() -> dict[str, torch.Tensor]:
    """A change of a linear layer, of a convolution and of a bias."""
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {LINEAR: (12, 20), CONV: (10, 6, 3, 3), BIAS: (10,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def test_the_full_rank_carries_a_change_whole() -> None:
    lora = factorise(changes().items(), energy=1.0)
    assert lora.error < 1e-6
    assert {name: pair.rank for name, pair in lora.pairs.items()} == {LINEAR: 12, CONV: 10}
    for name, pair in lora.pairs.items():
        torch.testing.assert_close(pair.change().float(), changes()[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", [LINEAR, CONV])
def test_a_rank_gives_the_best_approximation_of_that_rank(name: str) -> None:
    change = changes()[name]
    singular = torch.linalg.svdvals(change.flatten(1).double())
    best = math.sqrt(float(singular[3:].square().sum() / singular.square().sum()))
    lora = factorise([(name, change)], rank=3)
    assert lora.pairs[name].rank == 3
    assert lora.error == pytest.approx(best, rel=1e-5)


def test_a_change_of_low_rank_needs_no_more_than_its_rank() -> None:
    thin = torch.randn(12, 2, generator=torch.Generator().manual_seed(1))
    lora = factorise([(LINEAR, thin @ thin.T)], energy=0.999_999)
    assert lora.pairs[LINEAR].rank == 2
    assert lora.error < 1e-3


@pytest.mark.parametrize("energy", [0.5, 0.9, 0.99])
def test_an_energy_keeps_that_share_and_not_a_rank_more(energy: float) -> None:
    change = changes()[LINEAR]
    lora = factorise([(LINEAR, change)], energy=energy)
    assert lora.error**2 <= 1 - energy + 1e-6
    fewer = factorise([(LINEAR, change)], rank=lora.pairs[LINEAR].rank - 1)
    assert fewer.error**2 > 1 - energy


def test_what_a_lora_cannot_hold_is_named_and_counted() -> None:
    all_changes = changes()
    lora = factorise(all_changes.items(), energy=1.0)
    assert lora.left_out == (BIAS,)
    lost = all_changes[BIAS].square().sum() / sum(c.square().sum() for c in all_changes.values())
    assert lora.error_with_left_out == pytest.approx(math.sqrt(lost), rel=1e-5)


@pytest.mark.parametrize(
    ("rank", "energy"), [(0, None), (-1, None), (None, 0.0), (None, 1.5), (4, 0.9)]
)
def test_an_impossible_size_is_refused(rank: int | None, energy: float | None) -> None:
    with pytest.raises(UsageError):
        factorise(changes().items(), rank, energy)


def test_a_change_of_biases_alone_makes_no_lora() -> None:
    with pytest.raises(UsageError, match="no weight matrix changed"):
        factorise([(BIAS, changes()[BIAS]), (LINEAR, torch.zeros(12, 20))])


@pytest.mark.parametrize(
    ("family", "module"),
    [
        ("sd1", "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"),
        ("sd2", "lora_unet_mid_block_attentions_0_proj_in"),
        ("sdxl", "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"),
    ],
)
def test_modules_have_the_names_that_kohyas_tools_give_them(family: Family, module: str) -> None:
    assert module in kohya_modules(unet_names(family), family_named(family).lora_names)


def unet_names(family: Family) -> list[str]:
    with torch.device("meta"):
        return [name for name, _ in tiny_parts(family)["unet"].named_parameters()]


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_written_lora_is_read_back_as_the_same_change(family: Family, tmp_path: Path) -> None:
    names = unet_names(family)
    name = next(name for name in names if name.endswith("attn2.to_k.weight"))
    path = tmp_path / "lora.safetensors"
    change = changes()[LINEAR]
    lora = factorise([(name, change)], energy=1.0)
    write_lora(path, lora, names, family_named(family).lora_names, {"concept": "Rust"})
    [(read_name, read)] = read_lora(open_tensors(path), names).items()
    assert read_name == name
    torch.testing.assert_close(read, change, atol=1e-6, rtol=0)
    halved = load_file(path)
    save_file({k: v / 2 if k.endswith("alpha") else v for k, v in halved.items()}, path)
    torch.testing.assert_close(
        read_lora(open_tensors(path), names)[name], change / 2, atol=1e-6, rtol=0
    )


def test_a_lora_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    pair = Pair(torch.ones(1, 4), torch.ones(4, 1))
    save_file(
        {"lora_unet_x.lora_down.weight": pair.down, "lora_unet_x.lora_up.weight": pair.up}, path
    )
    with pytest.raises(InputError, match="modules that the base lacks: lora_unet_x"):
        read_lora(open_tensors(path), unet_names("sd1"))
