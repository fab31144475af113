"""A checkpoint's tensors are used, left aside by a rule, or listed in an error."""

from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter

import pytest
import torch

from esdctl.checkpoints.layouts.accounting import account, nearest_pairs
from esdctl.checkpoints.layouts.architecture import Architecture, architecture_of_folder
from esdctl.checkpoints.layouts.compvis import read_compvis
from esdctl.checkpoints.layouts.ldm_names import dotted_name, with_ldm_names
from esdctl.checkpoints.tensor_info import TensorInfo
from esdctl.errors import InputError
from tests.checkpoints.full_size import FAMILIES, Family, full_size
from tests.checkpoints.held_tensors import HeldTensors
from tests.checkpoints.tiny_models import compvis_infos, tiny_folder

Infos = dict[str, TensorInfo]
UNET = "model.diffusion_model."
MEAN = "model_ema.diffusion_model"
NUMBER = TensorInfo("F32", ())


@pytest.fixture(scope="module")
def architectures(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Architecture]:
    folder = tmp_path_factory.mktemp("models")
    return {name: architecture_of_folder(tiny_folder(name, folder / name)) for name in FAMILIES}


@pytest.fixture
def sd1(architectures: Mapping[str, Architecture]) -> Architecture:
    return architectures["sd1"]


def refusal(infos: Infos, architecture: Architecture) -> str:
    with pytest.raises(InputError) as raised:
        account(infos, architecture, Path("old.ckpt"))
    assert raised.value.hint
    return raised.value.message


@pytest.mark.parametrize("family", FAMILIES)
def test_a_complete_checkpoint_is_used_to_the_last_tensor(
    family: str, architectures: Mapping[str, Architecture]
) -> None:
    infos = compvis_infos(architectures[family])
    found = account(infos, architectures[family])
    used = {place.name for part in found.places.values() for place in part.values()}
    assert used | set(found.unused) == set(infos)


# Per family: U-Net, VAE, text encoders (with position numbers and logit scales), schedule.
FULL = {"sd1": 686 + 248 + 197 + 12, "sd2": 686 + 248 + 294 + 12, "sdxl": 1680 + 248 + 197 + 390}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_full_size_checkpoint_has_the_tensors_of_its_parts_and_no_more(family: Family) -> None:
    architecture = full_size(family)
    infos = compvis_infos(architecture)
    account(infos, architecture)
    assert len(infos) == FULL[family]


BESIDE: Mapping[str, Callable[[Infos], Infos]] = {
    "an average of the weights": lambda infos: {
        "model_ema.decay": NUMBER,
        "model_ema.num_updates": TensorInfo("I32", ()),
        f"{MEAN}input_blocks00weight": infos[f"{UNET}input_blocks.0.0.weight"],
    },
    "the loss's discriminator": lambda _: {
        "first_stage_model.loss.discriminator.main.0.weight": TensorInfo("F32", (64, 3, 4, 4)),
        "first_stage_model.loss.logvar": NUMBER,
    },
    "the VAE's average": lambda _: {"first_stage_model.model_ema.decay": NUMBER},
    "CLIP's projection": lambda _: {
        "cond_stage_model.transformer.text_projection.weight": TensorInfo("F32", (32, 32)),
        "cond_stage_model.logit_scale": NUMBER,
    },
    "the scale of the latents": lambda _: {"scale_factor": NUMBER},
    "the variational bound's weights": lambda _: {"lvlb_weights": TensorInfo("F32", (1000,))},
}


@pytest.mark.parametrize("what", BESIDE)
def test_what_lies_beside_the_model_is_left_aside(what: str, sd1: Architecture) -> None:
    infos = compvis_infos(sd1)
    account({**infos, **BESIDE[what](infos)}, sd1)


def test_averages_and_losses_never_reach_what_is_written_again(sd1: Architecture) -> None:
    infos = compvis_infos(sd1)
    stale = {
        **BESIDE["an average of the weights"](infos),
        **BESIDE["the loss's discriminator"](infos),
    }
    assert not stale.keys() & set(account({**infos, **stale}, sd1).unused)


def test_a_checkpoint_without_schedule_or_position_ids_is_complete(sd1: Architecture) -> None:
    infos = compvis_infos(sd1)
    for name in account(infos, sd1).unused:
        del infos[name]
    account(infos, sd1)


def test_sd2_needs_no_last_layer_since_nothing_reads_it(
    architectures: Mapping[str, Architecture],
) -> None:
    infos = compvis_infos(architectures["sd2"])
    last = [name for name in infos if ".resblocks.2." in name]
    assert len(last) == 12
    account({name: info for name, info in infos.items() if name not in last}, architectures["sd2"])


def test_a_missing_tensor_stands_beside_the_name_that_looks_like_it(sd1: Architecture) -> None:
    infos = compvis_infos(sd1)
    infos[f"{UNET}input_blocks.0.0.wieght"] = infos.pop(f"{UNET}input_blocks.0.0.weight")
    message = refusal(infos, sd1)
    assert message.startswith(
        "old.ckpt is no sd1 checkpoint: 1 tensors missing, 1 unexpected, 0 of another shape"
    )
    pair = f"missing {UNET}input_blocks.0.0.weight, unexpected {UNET}input_blocks.0.0.wieght"
    assert pair in message


def test_at_most_ten_pairs_and_ten_names_of_a_kind_are_listed(sd1: Architecture) -> None:
    infos = {f"x{name}": info for name, info in compvis_infos(sd1).items()}
    started = perf_counter()
    lines = refusal(infos, sd1).splitlines()
    assert perf_counter() - started < 10  # 950 names are not compared with 950 names
    assert len([line for line in lines if ", unexpected " in line]) == 10
    assert len([line for line in lines if line.startswith("  unexpected ")]) == 10
    assert any("more missing" in line for line in lines)


def test_a_misshapen_tensor_says_both_shapes(sd1: Architecture) -> None:
    infos = compvis_infos(sd1)
    infos[f"{UNET}input_blocks.0.0.weight"] = TensorInfo("F32", (32, 9, 3, 3))
    assert f"misshapen {UNET}input_blocks.0.0.weight is 32x9x3x3, not 32x4x3x3" in refusal(
        infos, sd1
    )


@pytest.mark.parametrize("dtype", ["I64", "F8_E4M3"])
def test_a_weight_of_another_kind_of_number_is_refused(dtype: str, sd1: Architecture) -> None:
    infos = compvis_infos(sd1)
    name = f"{UNET}out.2.bias"
    infos[name] = TensorInfo(dtype, infos[name].shape)
    assert f"{name} has the type {dtype}" in refusal(infos, sd1)


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_every_floating_type_is_taken(dtype: str, sd1: Architecture) -> None:
    account({name: TensorInfo(dtype, info.shape) for name, info in compvis_infos(sd1).items()}, sd1)


def test_a_control_net_inside_is_not_ignored(sd1: Architecture) -> None:
    infos = {**compvis_infos(sd1), "control_model.time_embed.0.weight": NUMBER}
    assert "unexpected control_model.time_embed.0.weight" in refusal(infos, sd1)


def test_a_model_of_another_family_is_told(architectures: Mapping[str, Architecture]) -> None:
    message = refusal(compvis_infos(architectures["sd1"]), architectures["sdxl"])
    assert "no sdxl checkpoint" in message
    assert "missing conditioner.embedders.0" in message or "more missing" in message


def test_a_schedule_of_zero_terminal_snr_is_refused(
    architectures: Mapping[str, Architecture],
) -> None:
    infos = compvis_infos(architectures["sdxl"])
    account({**infos, "v_pred": TensorInfo("F32", (0,))}, architectures["sdxl"])
    message = refusal({**infos, "ztsnr": TensorInfo("F32", (0,))}, architectures["sdxl"])
    assert "zero terminal SNR" in message


@pytest.mark.parametrize("family", FAMILIES)
def test_every_averaged_weight_is_known_by_its_own_name(
    family: str, architectures: Mapping[str, Architecture]
) -> None:
    names = [name for name in compvis_infos(architectures[family]) if name.startswith(UNET)]
    for name in names:
        assert dotted_name(averaged(name)) == name


def averaged(name: str) -> str:
    return "model_ema." + name.removeprefix("model.").replace(".", "")


def test_a_checkpoint_of_averages_alone_uses_them(sd1: Architecture) -> None:
    tensors = {name: torch.zeros(info.shape) for name, info in compvis_infos(sd1).items()}
    alone = {averaged(name) if name.startswith(UNET) else name: tensors[name] for name in tensors}
    alone[averaged(f"{UNET}out.2.bias")] += 7
    found = read_compvis(with_ldm_names(HeldTensors(alone)), sd1)
    assert torch.equal(found["unet"]["conv_out.bias"], torch.full((4,), 7.0))


def test_averages_beside_the_weights_are_not_used(sd1: Architecture) -> None:
    tensors = {name: torch.zeros(info.shape) for name, info in compvis_infos(sd1).items()}
    both = {**tensors, averaged(f"{UNET}out.2.bias"): torch.ones(4)}
    found = read_compvis(with_ldm_names(HeldTensors(both)), sd1)
    assert torch.equal(found["unet"]["conv_out.bias"], torch.zeros(4))


def test_the_likest_pair_comes_first() -> None:
    missing = ["encoder.conv_in.weight", "decoder.conv_out.bias"]
    unexpected = ["decoder.conv_out.bia", "encoder.conv__in.waight"]
    assert nearest_pairs(missing, unexpected)[0] == (missing[1], unexpected[0])
