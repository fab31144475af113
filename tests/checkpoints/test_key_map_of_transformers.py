"""The key map of FLUX and SD 3 against diffusers' converters of their authors' checkpoints."""

from collections.abc import Callable, Mapping

import pytest
import torch
from diffusers import Flux2Transformer2DModel, FluxTransformer2DModel, SD3Transformer2DModel
from diffusers.loaders import single_file_utils as oracle

from esdctl.checkpoints.layouts.key_map import to_compvis, transformer_table
from esdctl.checkpoints.layouts.transformed import from_stored, stored_tensors
from esdctl.errors import InputError
from esdctl.models.families.family import TransformerTable


def filled(names: dict[str, torch.Tensor], columns: int | None = None) -> dict[str, torch.Tensor]:
    """Random values; of matrices only so many columns, since a layout speaks of rows."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        name: tensor.shape if tensor.ndim != 2 or columns is None else (len(tensor), columns)
        for name, tensor in names.items()
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def flux(guidance_embeds: bool = True) -> dict[str, torch.Tensor]:
    """Of the published width, which diffusers' converter takes for granted; 2 columns a matrix."""
    with torch.device("meta"):
        model = FluxTransformer2DModel(
            num_layers=2, num_single_layers=3, guidance_embeds=guidance_embeds
        )
    return filled(dict(model.state_dict()), columns=2)


def flux2() -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        model = Flux2Transformer2DModel(
            num_layers=2, num_single_layers=3, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=48, in_channels=128, timestep_guidance_channels=16,
            axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
        )  # fmt: skip
    return filled(dict(model.state_dict()))


def sd3(dual: bool) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        model = SD3Transformer2DModel(
            num_layers=3, attention_head_dim=8, num_attention_heads=4, joint_attention_dim=64,
            caption_projection_dim=32, pooled_projection_dim=64, sample_size=8,
            pos_embed_max_size=16, dual_attention_layers=(0, 1) if dual else (),
            qk_norm="rms_norm" if dual else None,
        )  # fmt: skip
    return filled(dict(model.state_dict()))


@pytest.mark.parametrize("guidance_embeds", [True, False], ids=["dev", "schnell"])
def test_diffusers_reads_our_names_of_flux_1_as_the_same_tensors(guidance_embeds: bool) -> None:
    tensors = flux(guidance_embeds)
    stored = stored_tensors(tensors, to_compvis("bfl", tensors))
    read = oracle.convert_flux_transformer_checkpoint_to_diffusers(dict(stored))
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_diffusers_reads_our_names_of_flux_2_as_the_same_tensors() -> None:
    tensors = flux2()
    stored = stored_tensors(tensors, to_compvis("bfl2", tensors))
    read = oracle.convert_flux2_transformer_checkpoint_to_diffusers(dict(stored))
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("dual", [False, True], ids=["3", "3.5 medium"])
def test_diffusers_reads_our_names_of_sd3_as_the_same_tensors(dual: bool) -> None:
    tensors = sd3(dual)
    stored = stored_tensors(tensors, to_compvis("mmdit", tensors))
    read = oracle.convert_sd3_transformer_checkpoint_to_diffusers(dict(stored))
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


MODELS: Mapping[TransformerTable, Callable[[], dict[str, torch.Tensor]]] = {
    "bfl": flux,
    "bfl2": flux2,
    "mmdit": lambda: sd3(dual=True),
}


@pytest.mark.parametrize("table", MODELS)
def test_what_is_stored_comes_back(table: TransformerTable) -> None:
    tensors = MODELS[table]()
    assert transformer_table(tensors) == table
    found = to_compvis(table, tensors)
    stored = stored_tensors(tensors, found)
    for name, place in found.items():
        assert torch.equal(from_stored(stored[place.name], place.transform), tensors[name])


def test_a_tensor_of_another_transformer_has_no_place() -> None:
    with pytest.raises(InputError, match=r"transformer_blocks\.0\.attn9\.to_q\.weight has no name"):
        to_compvis("bfl", ["transformer_blocks.0.attn9.to_q.weight"])
