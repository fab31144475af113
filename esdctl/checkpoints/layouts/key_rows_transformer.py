"""The rows of the key map for transformers: their authors' modules beside diffusers'.

Black Forest Labs' FLUX.1 and FLUX.2 and Stability's SD 3 (MMDiT) hold queries, keys and values as
one matrix. Their last modulation gives shift before scale, diffusers' the scale first. In FLUX.2
diffusers, too, has one matrix for all that goes into a single block.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from esdctl.checkpoints.layouts.transforms import Row
from esdctl.models.families.family import TransformerTable

Under = Callable[[str, str, Iterable[Row]], list[Row]]

_FLUX_ENDS: tuple[Row, ...] = (
    ("time_in.in_layer", "time_text_embed.timestep_embedder.linear_1", "same"),
    ("time_in.out_layer", "time_text_embed.timestep_embedder.linear_2", "same"),
    ("vector_in.in_layer", "time_text_embed.text_embedder.linear_1", "same"),
    ("vector_in.out_layer", "time_text_embed.text_embedder.linear_2", "same"),
    ("guidance_in.in_layer", "time_text_embed.guidance_embedder.linear_1", "same"),
    ("guidance_in.out_layer", "time_text_embed.guidance_embedder.linear_2", "same"),
    ("img_in", "x_embedder", "same"),
    ("txt_in", "context_embedder", "same"),
    ("final_layer.linear", "proj_out", "same"),
    ("final_layer.adaLN_modulation.1", "norm_out.linear", "swapped"),
)
_FLUX_DOUBLE: tuple[Row, ...] = (
    ("img_mod.lin", "norm1.linear", "same"),
    ("img_attn.qkv", "attn.to_q", "q"),
    ("img_attn.qkv", "attn.to_k", "k"),
    ("img_attn.qkv", "attn.to_v", "v"),
    ("img_attn.norm.query_norm.scale", "attn.norm_q.weight", "same"),
    ("img_attn.norm.key_norm.scale", "attn.norm_k.weight", "same"),
    ("img_attn.proj", "attn.to_out.0", "same"),
    ("img_mlp.0", "ff.net.0.proj", "same"),
    ("img_mlp.2", "ff.net.2", "same"),
    ("txt_mod.lin", "norm1_context.linear", "same"),
    ("txt_attn.qkv", "attn.add_q_proj", "q"),
    ("txt_attn.qkv", "attn.add_k_proj", "k"),
    ("txt_attn.qkv", "attn.add_v_proj", "v"),
    ("txt_attn.norm.query_norm.scale", "attn.norm_added_q.weight", "same"),
    ("txt_attn.norm.key_norm.scale", "attn.norm_added_k.weight", "same"),
    ("txt_attn.proj", "attn.to_add_out", "same"),
    ("txt_mlp.0", "ff_context.net.0.proj", "same"),
    ("txt_mlp.2", "ff_context.net.2", "same"),
)
_FLUX_SINGLE: tuple[Row, ...] = (
    ("modulation.lin", "norm.linear", "same"),
    ("linear1", "attn.to_q", "q7"),
    ("linear1", "attn.to_k", "k7"),
    ("linear1", "attn.to_v", "v7"),
    ("linear1", "proj_mlp", "mlp7"),
    ("norm.query_norm.scale", "attn.norm_q.weight", "same"),
    ("norm.key_norm.scale", "attn.norm_k.weight", "same"),
    ("linear2", "proj_out", "same"),
)
_FLUX2_ENDS: tuple[Row, ...] = (
    ("time_in.in_layer", "time_guidance_embed.timestep_embedder.linear_1", "same"),
    ("time_in.out_layer", "time_guidance_embed.timestep_embedder.linear_2", "same"),
    ("guidance_in.in_layer", "time_guidance_embed.guidance_embedder.linear_1", "same"),
    ("guidance_in.out_layer", "time_guidance_embed.guidance_embedder.linear_2", "same"),
    ("img_in", "x_embedder", "same"),
    ("txt_in", "context_embedder", "same"),
    ("double_stream_modulation_img.lin", "double_stream_modulation_img.linear", "same"),
    ("double_stream_modulation_txt.lin", "double_stream_modulation_txt.linear", "same"),
    ("single_stream_modulation.lin", "single_stream_modulation.linear", "same"),
    ("final_layer.linear", "proj_out", "same"),
    ("final_layer.adaLN_modulation.1", "norm_out.linear", "swapped"),
)
_FLUX2_DOUBLE: tuple[Row, ...] = (
    *(row for row in _FLUX_DOUBLE if "attn" in row[0]),
    ("img_mlp.0", "ff.linear_in", "same"),
    ("img_mlp.2", "ff.linear_out", "same"),
    ("txt_mlp.0", "ff_context.linear_in", "same"),
    ("txt_mlp.2", "ff_context.linear_out", "same"),
)
_FLUX2_SINGLE: tuple[Row, ...] = (
    ("linear1", "attn.to_qkv_mlp_proj", "same"),
    ("linear2", "attn.to_out", "same"),
    ("norm.query_norm.scale", "attn.norm_q.weight", "same"),
    ("norm.key_norm.scale", "attn.norm_k.weight", "same"),
)
_FLUX = {
    "bfl": (_FLUX_ENDS, _FLUX_DOUBLE, _FLUX_SINGLE),
    "bfl2": (_FLUX2_ENDS, _FLUX2_DOUBLE, _FLUX2_SINGLE),
}
_SD3_ENDS: tuple[Row, ...] = (
    ("pos_embed", "pos_embed.pos_embed", "same"),
    ("x_embedder.proj", "pos_embed.proj", "same"),
    ("t_embedder.mlp.0", "time_text_embed.timestep_embedder.linear_1", "same"),
    ("t_embedder.mlp.2", "time_text_embed.timestep_embedder.linear_2", "same"),
    ("y_embedder.mlp.0", "time_text_embed.text_embedder.linear_1", "same"),
    ("y_embedder.mlp.2", "time_text_embed.text_embedder.linear_2", "same"),
    ("context_embedder", "context_embedder", "same"),
    ("final_layer.linear", "proj_out", "same"),
    ("final_layer.adaLN_modulation.1", "norm_out.linear", "swapped"),
)
_SD3_JOINT: tuple[Row, ...] = (
    ("x_block.adaLN_modulation.1", "norm1.linear", "same"),
    ("x_block.attn.qkv", "attn.to_q", "q"),
    ("x_block.attn.qkv", "attn.to_k", "k"),
    ("x_block.attn.qkv", "attn.to_v", "v"),
    ("x_block.attn.ln_q", "attn.norm_q", "same"),
    ("x_block.attn.ln_k", "attn.norm_k", "same"),
    ("x_block.attn.proj", "attn.to_out.0", "same"),
    ("x_block.attn2.qkv", "attn2.to_q", "q"),
    ("x_block.attn2.qkv", "attn2.to_k", "k"),
    ("x_block.attn2.qkv", "attn2.to_v", "v"),
    ("x_block.attn2.ln_q", "attn2.norm_q", "same"),
    ("x_block.attn2.ln_k", "attn2.norm_k", "same"),
    ("x_block.attn2.proj", "attn2.to_out.0", "same"),
    ("x_block.mlp.fc1", "ff.net.0.proj", "same"),
    ("x_block.mlp.fc2", "ff.net.2", "same"),
    ("context_block.attn.qkv", "attn.add_q_proj", "q"),
    ("context_block.attn.qkv", "attn.add_k_proj", "k"),
    ("context_block.attn.qkv", "attn.add_v_proj", "v"),
    ("context_block.attn.ln_q", "attn.norm_added_q", "same"),
    ("context_block.attn.ln_k", "attn.norm_added_k", "same"),
    ("context_block.attn.proj", "attn.to_add_out", "same"),
    ("context_block.mlp.fc1", "ff_context.net.0.proj", "same"),
    ("context_block.mlp.fc2", "ff_context.net.2", "same"),
)
# Table -> modules that, together, only its networks have.
MARKS: Mapping[TransformerTable, tuple[str, ...]] = {
    "bfl": ("x_embedder.", "time_text_embed."),
    "bfl2": ("x_embedder.", "time_guidance_embed."),
    "mmdit": ("pos_embed.", "time_text_embed."),
}
_TEXT_MODULATION = ("context_block.adaLN_modulation.1", "norm1_context.linear")


def flux_rows(table: Literal["bfl", "bfl2"], double: int, single: int, under: Under) -> list[Row]:
    """The rows of a FLUX.1 or a FLUX.2.

    Args:
        table: which of them.
        double, single: how many blocks of two streams and of one it has.
        under: puts rows below a module of each layout.
    """
    ends, of_double, of_single = _FLUX[table]
    rows = list(ends)
    for block in range(double):
        rows += under(f"double_blocks.{block}", f"transformer_blocks.{block}", of_double)
    for block in range(single):
        rows += under(f"single_blocks.{block}", f"single_transformer_blocks.{block}", of_single)
    return rows


def sd3_rows(blocks: int, under: Under) -> list[Row]:
    """The rows of a Stable Diffusion 3 or 3.5.

    Nothing reads the text's stream behind the last block, whose modulation is shift and scale alone
    and so lies as the one of the final layer.

    Args:
        blocks: how many it has.
        under: puts rows below a module of each layout.
    """
    rows = list(_SD3_ENDS)
    for block in range(blocks):
        lies: Row = (*_TEXT_MODULATION, "swapped" if block == blocks - 1 else "same")
        rows += under(f"joint_blocks.{block}", f"transformer_blocks.{block}", (*_SD3_JOINT, lies))
    return rows
