"""Adapters of other tools are read to the last tensor, or refused by what they are."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from esdctl.checkpoints.changes.apply import add_changes, open_change
from esdctl.checkpoints.changes.lora_reading import read_lora
from esdctl.checkpoints.tensor_file import open_tensors
from esdctl.errors import InputError, IntegrityError

ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
WEIGHT = f"{ATTENTION}.to_k.weight"
OUT, BIAS = f"{ATTENTION}.to_out.0.weight", f"{ATTENTION}.to_out.0.bias"
NAMES = {WEIGHT: (6, 4), OUT: (6, 6), BIAS: (6,)}
DOWN, UP = torch.arange(8.0).reshape(2, 4), torch.arange(12.0).reshape(6, 2)
KOHYA = "lora_unet_" + ATTENTION.replace(".", "_")


def written(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    path = tmp_path / "adapter.safetensors"
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path)
    return path


def changes_of(path: Path) -> dict[str, torch.Tensor]:
    return read_lora(open_tensors(path), NAMES)


@pytest.mark.parametrize(
    ("down", "up"),
    [
        (f"{KOHYA}_to_k.lora_down.weight", f"{KOHYA}_to_k.lora_up.weight"),
        (f"unet.{ATTENTION}.to_k.lora_A.weight", f"unet.{ATTENTION}.to_k.lora_B.weight"),
        (f"{ATTENTION}.to_k.lora_A.weight", f"{ATTENTION}.to_k.lora_B.weight"),
        (
            f"base_model.model.{ATTENTION}.to_k.lora_A.default.weight",
            f"base_model.model.{ATTENTION}.to_k.lora_B.default.weight",
        ),
        (f"unet.{ATTENTION}.to_k.lora.down.weight", f"unet.{ATTENTION}.to_k.lora.up.weight"),
        (
            f"{ATTENTION}.processor.to_k_lora.down.weight",
            f"{ATTENTION}.processor.to_k_lora.up.weight",
        ),
        (
            f"unet.{ATTENTION}.processor.to_k_lora.down.weight",
            f"unet.{ATTENTION}.processor.to_k_lora.up.weight",
        ),
    ],
)
def test_each_spelling_of_a_lora_gives_the_same_change(tmp_path: Path, down: str, up: str) -> None:
    changes = changes_of(written(tmp_path, {down: DOWN, up: UP}))
    assert list(changes) == [WEIGHT]
    torch.testing.assert_close(changes[WEIGHT], UP @ DOWN)


def test_alpha_scales_and_its_absence_means_the_rank(tmp_path: Path) -> None:
    factors = {f"{KOHYA}_to_k.lora_down.weight": DOWN, f"{KOHYA}_to_k.lora_up.weight": UP}
    halved = {**factors, f"{KOHYA}_to_k.alpha": torch.tensor(1.0)}
    assert torch.equal(changes_of(written(tmp_path, halved))[WEIGHT], (UP @ DOWN) / 2)


def test_plain_differences_of_weights_and_biases_are_added(tmp_path: Path) -> None:
    difference, bias = torch.ones(6, 6), torch.full((6,), 2.0)
    path = written(
        tmp_path, {f"{KOHYA}_to_out_0.diff": difference, f"{KOHYA}_to_out_0.diff_b": bias}
    )
    changes = changes_of(path)
    assert torch.equal(changes[OUT], difference)
    assert torch.equal(changes[BIAS], bias)


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (f"{KOHYA}_to_k.dora_scale", "DoRA"),
        (f"unet.{ATTENTION}.to_k.lora_magnitude_vector", "DoRA"),
        (f"{KOHYA}_to_k.lora_mid.weight", "Tucker"),
        (f"{KOHYA}_to_q.hada_w1_a", "LoHa"),
        (f"{KOHYA}_to_q.lokr_w1", "LoKr"),
        (f"{KOHYA}_to_q.oft_blocks", "OFT"),
        (f"{KOHYA}_to_q.on_input", "IA3"),
        (f"{KOHYA}_norm.w_norm", "norms"),
        (f"{KOHYA}_norm.b_norm", "norms"),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "text encoder"),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha", "text encoder"),
        ("text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight", "text encoder"),
        (f"{KOHYA}_to_kk.lora_down.weight", "modules that the base lacks"),
        (f"{KOHYA}_to_k.lora_dwon.weight", "modules that the base lacks"),
        (f"unet.{ATTENTION}.to_z.lora_A.weight", "modules that the base lacks"),
        ("something.else", "tensors of no known kind"),
    ],
)
def test_what_has_no_use_beside_a_good_module_is_refused_by_name(
    tmp_path: Path, extra: str, told: str
) -> None:
    good = {f"{KOHYA}_to_k.lora_down.weight": DOWN, f"{KOHYA}_to_k.lora_up.weight": UP}
    path = written(tmp_path, {**good, extra: torch.ones(2, 4)})
    with pytest.raises(InputError) as error:
        changes_of(path)
    assert told in error.value.message
    assert extra[:100] in error.value.message


@pytest.mark.parametrize(
    "tensors",
    [
        {f"{KOHYA}_to_k.lora_down.weight": DOWN},
        {f"{KOHYA}_to_k.lora_up.weight": UP},
        {f"{KOHYA}_to_k.alpha": torch.tensor(1.0)},
        {f"{KOHYA}_to_k.lora_down.weight": DOWN, f"{KOHYA}_to_k.lora_up.weight": torch.ones(6, 3)},
        {f"{KOHYA}_to_k.diff_b": torch.ones(6)},  # to_k has no bias
    ],
)
def test_half_a_change_is_refused(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with pytest.raises(InputError, match="adapter"):
        changes_of(written(tmp_path, tensors))


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        ({"lora_down.weight": (1, 4), "lora_up.weight": (6, 1, 3)}, "no common rank"),
        ({"lora_down.weight": (1, 4), "lora_up.weight": (6,)}, "no common rank"),
        ({"lora_down.weight": (1,), "lora_up.weight": (6, 1)}, "no common rank"),
        ({"lora_down.weight": (), "lora_up.weight": (6, 1)}, "no common rank"),
        ({"lora_down.weight": (0, 4), "lora_up.weight": (6, 0)}, "no common rank"),
        ({"lora_down.weight": (1, 4), "lora_up.weight": (6, 1), "alpha": (2,)}, "not one number"),
        ({"lora_down.weight": (1, 4), "lora_up.weight": (6, 1), "diff": (1,)}, "factors' shape"),
        ({"lora_down.weight": (1, 5), "lora_up.weight": (6, 1)}, "does not fit the base"),
        ({"lora_down.weight": (1, 1), "lora_up.weight": (6, 1)}, "does not fit the base"),
        ({"lora_down.weight": (1, 4), "lora_up.weight": (1, 1)}, "does not fit the base"),
        ({"diff": (1, 1)}, "does not fit the base"),
    ],
)
def test_factors_that_do_not_fit_are_refused_and_not_spread(
    shapes: dict[str, tuple[int, ...]], told: str, tmp_path: Path
) -> None:
    path = written(tmp_path, {f"{KOHYA}_to_k.{k}": torch.ones(s) for k, s in shapes.items()})
    base = {name: torch.zeros(shape) for name, shape in NAMES.items()}
    with pytest.raises((InputError, IntegrityError), match=told):
        add_changes([open_change(path)], base)


def test_many_unread_keys_are_counted_not_listed(tmp_path: Path) -> None:
    path = written(tmp_path, {f"lora_unet_{i}.lora_down.weight": DOWN for i in range(500)})
    with pytest.raises(InputError, match="and 497 more") as error:
        changes_of(path)
    assert len(error.value.message) < 600


@pytest.mark.parametrize("form", ["table a module", "flat", "below unet", "bare"])
def test_the_authors_older_weights_are_new_values(tmp_path: Path, form: str) -> None:
    value = torch.full((6, 4), 3.0)
    module = WEIGHT.removesuffix(".weight")
    content: dict[str, object] = {
        "table a module": {f"unet.{module}": {"weight": value}},
        "flat": {f"unet.{WEIGHT}": value},
        "below unet": {"unet": {WEIGHT: value}},
        "bare": {WEIGHT: value},
    }[form]  # type: ignore[assignment]
    path = tmp_path / "esd-Dogs-from-Dogs-esdx.pt"
    torch.save(content, path)
    change = open_change(path)
    base = {name: torch.zeros(shape) for name, shape in NAMES.items()}
    assert torch.equal(add_changes([change], base)[WEIGHT], value)
    assert change.about["concept"] == "Dogs"
