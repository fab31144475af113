"""The selected parameters against the published counts of SD 1.x, in both layouts."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from esdctl.esd.train_methods import RULES, canonical_method, select

# method -> tensors, parameters in SD 1.x's U-Net
COUNTS = {
    "xattn": (80, 43_962_560),
    "esd-x": (80, 43_962_560),
    "esd-x-strict": (32, 19_169_280),
    "selfattn": (80, 49_574_080),
    "noxattn": (598, 813_495_680),
    "esd-u": (388, 815_358_084),
    "esd-all": (468, 859_320_644),
    "full": (686, 859_520_964),
}


@pytest.fixture(scope="module")
def sizes() -> dict[str, int]:
    """Name -> number of parameters of SD 1.x's U-Net, which exists without memory."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=64,
            cross_attention_dim=768,
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            block_out_channels=(320, 640, 1280, 1280),
        )
    return {name: parameter.numel() for name, parameter in unet.named_parameters()}


def to_ldm(name: str) -> str:
    """A diffusers name of SD 1.x in CompVis' layout (two layers a block), written independently."""
    part = name.split(".")
    resnet = {
        "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0",
        "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1",
        "conv_shortcut": "skip_connection",
    }  # fmt: skip
    heads = {
        "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    }  # fmt: skip
    if part[0] in heads:
        return f"{heads[part[0]]}.{part[1]}"
    if part[0] == "time_embedding":
        return f"time_embed.{0 if part[1] == 'linear_1' else 2}.{part[2]}"
    if part[0] == "mid_block":
        index = 1 if part[1] == "attentions" else 2 * int(part[2])
        rest = part[3:] if part[1] == "attentions" else [resnet[part[3]], *part[4:]]
        return ".".join(["middle_block", str(index), *rest])
    block, kind, layer = int(part[1]), part[2], part[3]
    down = part[0] == "down_blocks"
    side = "input_blocks" if down else "output_blocks"
    if kind == "downsamplers":
        return f"{side}.{3 * (block + 1)}.0.op.{part[5]}"
    if kind == "upsamplers":
        return f"{side}.{3 * block + 2}.{1 if block == 0 else 2}.conv.{part[5]}"
    index = 3 * block + int(layer) + (1 if down else 0)
    if kind == "attentions":
        return ".".join([f"{side}.{index}.1", *part[4:]])
    return ".".join([f"{side}.{index}.0", resnet[part[4]], *part[5:]])


@pytest.mark.parametrize("method", COUNTS)
def test_a_method_selects_the_tables_counts(method: str, sizes: dict[str, int]) -> None:
    selected = select(method, sizes)
    assert (len(selected), sum(sizes[name] for name in selected)) == COUNTS[method]


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_method_selects_the_same_tensors_in_either_layout(
    method: str, prefix: str, sizes: dict[str, int]
) -> None:
    ldm = {prefix + to_ldm(name): name for name in sizes}
    assert len(ldm) == len(sizes)
    assert [ldm[name] for name in select(method, ldm)] == select(method, sizes)


def test_layer_methods_select_their_layers_alone(sizes: dict[str, int]) -> None:
    def places(method: str) -> set[str]:
        return {".".join(name.split(".")[:4]) for name in select(method, sizes)}

    assert places("xlayer") == {"up_blocks.2.attentions.0", "up_blocks.2.attentions.2"}
    assert places("selflayer") == {"down_blocks.1.attentions.0", "down_blocks.2.attentions.0"}


def test_notime_is_noxattn_and_cross_attention(sizes: dict[str, int]) -> None:
    both = {*select("noxattn", sizes), *select("xattn", sizes)}
    assert set(select("notime", sizes)) == both


def test_the_output_head_stays_under_noxattn_and_notime(sizes: dict[str, int]) -> None:
    for method in ("noxattn", "notime"):
        assert not [n for n in select(method, sizes) if n.startswith(("conv_out", "conv_norm_out"))]


@pytest.mark.parametrize("spelling", ["ESD-X", "esd_x", "esdx", " esd-x "])
def test_a_method_is_known_by_its_spellings(spelling: str) -> None:
    assert canonical_method(spelling) == "esd-x"


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean noxattn"):
        canonical_method("noxatn")
