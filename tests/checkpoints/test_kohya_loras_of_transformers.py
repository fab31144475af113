"""LoRAs of FLUX and SD 3 under kohya's names: fused matrices are written whole and read apart."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from diffusers.loaders import lora_conversion_utils, single_file_utils
from safetensors.torch import load_file, save_file

from esdctl.checkpoints.changes.lora import changes_in, factorise, kohya_modules, write_lora
from esdctl.checkpoints.changes.lora_reading import lora_ranks, lora_shapes, read_lora
from esdctl.checkpoints.layouts.key_map import to_compvis
from esdctl.checkpoints.layouts.transformed import stored_tensors
from esdctl.checkpoints.tensor_file import open_tensors
from esdctl.errors import InputError
from esdctl.models.families.family import TransformerTable as Table
from tests.checkpoints.test_key_map_of_transformers import MODELS, flux, flux2, sd3

Tensors = dict[str, torch.Tensor]
TEXT = "transformer_blocks.0.attn.add_{}_proj.weight"
QKV: Mapping[Table, str] = {
    "bfl": "double_blocks_0_txt_attn_qkv",
    "bfl2": "double_blocks_0_txt_attn_qkv",
    "mmdit": "joint_blocks_0_context_block_attn_qkv",
}


def written(path: Path, changes: Tensors, names: Mapping[str, object], table: Table) -> Path:
    lora = factorise(changes_in(table, changes.items(), changes, names), energy=1.0)
    write_lora(path, lora, names, table, {"concept": "Rust"})
    return path


def matrices(tensors: Tensors) -> Tensors:
    return {n: t for n, t in tensors.items() if t.ndim > 1 and n.endswith(".weight")}


@pytest.mark.parametrize(
    ("table", "module"),
    [
        ("bfl", "lora_unet_double_blocks_0_img_attn_qkv"),
        ("bfl", "lora_unet_double_blocks_1_txt_attn_proj"),
        ("bfl", "lora_unet_double_blocks_1_txt_mod_lin"),
        ("bfl", "lora_unet_double_blocks_1_img_mlp_2"),
        ("bfl", "lora_unet_single_blocks_2_linear1"),
        ("bfl", "lora_unet_single_blocks_2_modulation_lin"),
        ("bfl2", "lora_unet_double_blocks_0_img_attn_qkv"),
        ("bfl2", "lora_unet_double_blocks_1_txt_mlp_0"),
        ("bfl2", "lora_unet_single_blocks_2_linear1"),
        ("mmdit", "lora_unet_joint_blocks_0_context_block_attn_qkv"),
        ("mmdit", "lora_unet_joint_blocks_1_x_block_attn2_qkv"),
        ("mmdit", "lora_unet_joint_blocks_2_context_block_adaLN_modulation_1"),
        ("mmdit", "lora_unet_joint_blocks_2_x_block_mlp_fc1"),
    ],
)
def test_modules_have_the_names_that_kohyas_tools_give_them(table: Table, module: str) -> None:
    assert module in kohya_modules(MODELS[table](), table)


@pytest.mark.parametrize("table", MODELS)
def test_text_keys_and_values_become_one_pair_with_no_queries(table: Table, tmp_path: Path) -> None:
    tensors = MODELS[table]()
    changes = {name: tensors[name] for name in (TEXT.format("k"), TEXT.format("v"))}
    path = written(tmp_path / "lora.safetensors", changes, tensors, table)
    [down, up, alpha] = (
        load_file(path)[f"lora_unet_{QKV[table]}.{kind}"]
        for kind in ("lora_down.weight", "lora_up.weight", "alpha")
    )
    width = len(up) // 3
    assert len(load_file(path)) == 3
    assert alpha == len(down) == min(down.shape[1], 2 * width)
    assert not up[:width].any()
    torch.testing.assert_close((up @ down)[width:], torch.cat([*changes.values()]))
    assert read_lora(open_tensors(path), tensors).keys() == changes.keys()


@pytest.mark.parametrize("table", MODELS)
def test_every_matrix_comes_back_as_it_was(table: Table, tmp_path: Path) -> None:
    tensors = MODELS[table]()
    changes = matrices(tensors)
    path = written(tmp_path / "lora.safetensors", changes, tensors, table)
    file = open_tensors(path)
    read = read_lora(file, tensors)
    assert read.keys() == changes.keys()
    for name, change in changes.items():
        torch.testing.assert_close(read[name], change, atol=1e-5, rtol=0)
    assert lora_shapes(file, tensors) == {name: tuple(c.shape) for name, c in changes.items()}
    assert {name for names in lora_ranks(file, tensors) for name in names} == changes.keys()


def test_diffusers_reads_every_matrix_of_flux_1_as_the_same_change(tmp_path: Path) -> None:
    tensors = flux()  # of the published width, which diffusers takes for granted
    changes = matrices(tensors)
    path = written(tmp_path / "lora.safetensors", changes, tensors, "bfl")
    theirs = lora_conversion_utils._convert_kohya_flux_lora_to_diffusers(load_file(path))
    read = {name.removeprefix("transformer."): tensor for name, tensor in theirs.items()}
    assert len(read) == 2 * len(changes)
    for name, change in changes.items():
        module = name.removesuffix(".weight")
        product = read[f"{module}.lora_B.weight"] @ read[f"{module}.lora_A.weight"]
        torch.testing.assert_close(product, change, atol=1e-5, rtol=0)


def test_diffusers_reads_the_matrices_of_flux_2s_blocks_as_the_same_change(tmp_path: Path) -> None:
    tensors = flux2()
    changes = {n: t for n, t in matrices(tensors).items() if "transformer_blocks." in n}
    path = written(tmp_path / "lora.safetensors", changes, tensors, "bfl2")
    theirs = lora_conversion_utils._convert_kohya_flux2_lora_to_diffusers(load_file(path))
    assert len(theirs) == 2 * len(changes)
    for name, change in changes.items():
        module = f"transformer.{name.removesuffix('.weight')}"
        product = theirs[f"{module}.lora_B.weight"] @ theirs[f"{module}.lora_A.weight"]
        torch.testing.assert_close(product, change, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dual", [False, True], ids=["3", "3.5 medium"])
def test_added_to_the_authors_weights_it_is_the_change_that_diffusers_reads(
    dual: bool, tmp_path: Path
) -> None:
    base, changes = sd3(dual), matrices(sd3(dual))
    factors = load_file(written(tmp_path / "lora.safetensors", changes, base, "mmdit"))
    authors = stored_tensors(base, to_compvis("mmdit", base))
    added = 0
    for name in authors:
        module = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        if f"{module}.alpha" in factors and name.endswith(".weight"):
            down, up = (factors[f"{module}.lora_{kind}.weight"] for kind in ("down", "up"))
            change = up.flatten(1) @ down.flatten(1)
            authors[name] = authors[name] + change.reshape(authors[name].shape)
            added += 1
    assert added == len(factors) / 3
    read = single_file_utils.convert_sd3_transformer_checkpoint_to_diffusers(authors)
    for name, tensor in base.items():
        wanted = tensor + changes[name] if name in changes else tensor
        torch.testing.assert_close(read[name], wanted, atol=1e-5, rtol=0)


def test_a_rank_is_that_of_the_fused_matrix(tmp_path: Path) -> None:
    tensors = sd3(dual=False)
    changes = {name: tensors[name] for name in map(TEXT.format, "qkv")}
    lora = factorise(changes_in("mmdit", changes.items(), changes, tensors), rank=5)
    [(name, pair)] = lora.pairs.items()
    assert (name, pair.rank) == ("joint_blocks.0.context_block.attn.qkv.weight", 5)
    singular = torch.linalg.svdvals(torch.cat([*changes.values()]).double())
    assert lora.error == pytest.approx(float(singular[5:].norm() / singular.norm()), rel=1e-5)


def test_norms_and_biases_are_left_out_under_the_names_of_the_model() -> None:
    tensors = sd3(dual=True)
    changed = ("to_q.weight", "to_q.bias", "norm_q.weight")
    changes = {name: tensors[name] for name in map("transformer_blocks.0.attn.{}".format, changed)}
    lora = factorise(changes_in("mmdit", changes.items(), changes, tensors), energy=1.0)
    assert lora.left_out == tuple(changes)[1:]


def fused(rows: int = 96, name: str = f"lora_unet_{QKV['mmdit']}") -> Tensors:
    generator = torch.Generator().manual_seed(1)
    up, down = (torch.randn(shape, generator=generator) for shape in ((rows, 2), (2, 32)))
    return {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}


def read(tensors: Tensors, path: Path) -> Tensors:
    save_file(tensors, path)
    return read_lora(open_tensors(path), sd3(dual=False))


@pytest.mark.parametrize("alpha", [None, 0.5])
def test_a_fused_pair_of_another_tool_is_cut_into_queries_keys_and_values(
    alpha: float | None, tmp_path: Path
) -> None:
    factors = fused()
    up, down = factors.values()
    whole = up @ down * (1 if alpha is None else alpha / 2)
    if alpha is not None:
        factors[f"lora_unet_{QKV['mmdit']}.alpha"] = torch.tensor(alpha)
    changes = read(factors, tmp_path / "lora.safetensors")
    assert list(changes) == [TEXT.format(part) for part in "qkv"]
    torch.testing.assert_close(torch.cat([*changes.values()]), whole)


def test_authors_names_with_dots_are_read_too(tmp_path: Path) -> None:
    name = "diffusion_model.joint_blocks.0.context_block.attn.qkv"
    up, down = fused().values()
    factors = {f"{name}.lora_B.weight": up, f"{name}.lora_A.weight": down}
    changes = read(factors, tmp_path / "lora.safetensors")
    torch.testing.assert_close(torch.cat([*changes.values()]), up @ down)


def test_plain_differences_of_a_fused_matrix_and_its_bias_are_cut(tmp_path: Path) -> None:
    module = f"lora_unet_{QKV['mmdit']}"
    factors = {f"{module}.diff": torch.ones(96, 32), f"{module}.diff_b": torch.arange(96.0) + 1}
    changes = read(factors, tmp_path / "lora.safetensors")
    assert torch.equal(changes[TEXT.format("v")], torch.ones(32, 32))
    bias = changes["transformer_blocks.0.attn.add_v_proj.bias"]
    assert torch.equal(bias, torch.arange(65.0, 97.0))


SPLIT = "transformer.transformer_blocks.0.attn.add_k_proj"


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        (fused(rows=97), "cannot be cut into its parts"),
        (
            {**fused(), f"{SPLIT}.lora_A.weight": torch.ones(1, 32),
             f"{SPLIT}.lora_B.weight": torch.ones(32, 1)},
            "changes transformer_blocks.0.attn.add_k_proj.weight once more",
        ),
        (
            {**fused(), **fused(name="diffusion_model.joint_blocks.0.context_block.attn.qkv")},
            "is there as",
        ),
        ({"lora_unet_joint_blocks_0_x_block_attn_ln_q.w_norm": torch.ones(8)}, "norms"),
        (fused(name="lora_unet_double_blocks_0_txt_attn_qkv"), "made for a transformer"),
        ({**fused(), **fused(name="lora_te1_text_model_encoder_layers_0_mlp_fc1")}, "text encoder"),
    ],
)  # fmt: skip
def test_what_is_no_change_of_this_model_is_refused_by_what_it_is(
    tensors: Tensors, told: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        read(tensors, tmp_path / "lora.safetensors")
    assert told in error.value.message
