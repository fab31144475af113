"""The selected parameters of each full-size family against stated counts, in both layouts."""

from collections.abc import Mapping
from functools import cache

import pytest
import torch
from diffusers import UNet2DConditionModel

from esdctl.erasing.train_methods import RULES, canonical_method, select
from esdctl.errors import InputError
from esdctl.models.families.registry import family_named
from tests.checkpoints.full_size import FAMILIES, UNETS, Family

# family -> method -> tensors, parameters
COUNTS: Mapping[Family, Mapping[str, tuple[int, int]]] = {
    "sd1": {
        "full": (686, 859_520_964),
        "xattn": (80, 43_962_560),
        "selfattn": (80, 49_574_080),
        "noxattn": (598, 813_495_680),
        "notime": (678, 857_458_240),
        "xlayer": (10, 3_605_760),
        "selflayer": (10, 8_193_920),
        "esd-x": (80, 43_962_560),
        "esd-x-strict": (32, 19_169_280),
        "esd-u": (388, 815_358_084),
        "esd-all": (468, 859_320_644),
    },
    "sd2": {
        "full": (686, 865_910_724),
        "xattn": (80, 50_352_320),
        "selfattn": (80, 49_574_080),
        "noxattn": (598, 813_495_680),
        "notime": (678, 863_848_000),
        "xlayer": (10, 4_261_120),
        "selflayer": (10, 8_193_920),
        "esd-x": (80, 50_352_320),
        "esd-x-strict": (32, 25_559_040),
        "esd-u": (388, 815_358_084),
        "esd-all": (468, 865_710_404),
    },
    "sdxl": {
        "full": (1680, 2_567_463_684),
        "xattn": (350, 545_670_400),
        "selfattn": (350, 409_683_200),
        "noxattn": (1322, 2_019_730_560),
        "notime": (1672, 2_565_400_960),
        "xlayer": (0, 0),
        "selflayer": (60, 68_826_880),
        "esd-x": (350, 545_670_400),
        "esd-x-strict": (140, 340_787_200),
        "esd-u": (772, 1_996_259_200),
        "esd-all": (1122, 2_541_929_600),
    },
}
CASES = [(family, method) for family in FAMILIES for method in RULES]


@cache
def sizes_of(family: Family) -> dict[str, int]:
    """Name -> number of parameters of a full-size U-Net, which exists without memory."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**UNETS[family])
    return {name: parameter.numel() for name, parameter in unet.named_parameters()}


def to_ldm(name: str, family: Family) -> str:
    """A diffusers name in CompVis' layout (two layers a block), written independently."""
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
    if part[0] in ("time_embedding", "add_embedding"):
        place = "time_embed" if part[0] == "time_embedding" else "label_emb.0"
        return f"{place}.{0 if part[1] == 'linear_1' else 2}.{part[2]}"
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
        place = "1" if block == 0 and family != "sdxl" else "2"
        return f"{side}.{3 * block + 2}.{place}.conv.{part[5]}"
    index = 3 * block + int(layer) + (1 if down else 0)
    if kind == "attentions":
        return ".".join([f"{side}.{index}.1", *part[4:]])
    return ".".join([f"{side}.{index}.0", resnet[part[4]], *part[5:]])


@pytest.mark.parametrize(("family", "method"), CASES)
def test_a_method_selects_the_tables_counts(family: Family, method: str) -> None:
    sizes = sizes_of(family)
    selected = select(method, sizes, family_named(family))
    assert (len(selected), sum(sizes[name] for name in selected)) == COUNTS[family][method]


@pytest.mark.parametrize(("family", "method"), CASES)
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_method_selects_the_same_tensors_in_either_layout(
    family: Family, method: str, prefix: str
) -> None:
    sizes = sizes_of(family)
    ldm = {prefix + to_ldm(name, family): name for name in sizes}
    assert len(ldm) == len(sizes)
    kind = family_named(family)
    assert [ldm[name] for name in select(method, ldm, kind)] == select(method, sizes, kind)


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_layer_methods_select_their_layers_alone(family: Family) -> None:
    assert places("xlayer", family) == {"up_blocks.2.attentions.0", "up_blocks.2.attentions.2"}
    assert places("selflayer", family) == {
        "down_blocks.1.attentions.0",
        "down_blocks.2.attentions.0",
    }


def places(method: str, family: Family) -> set[str]:
    return {
        ".".join(name.split(".")[:4])
        for name in select(method, sizes_of(family), family_named(family))
    }


def test_selflayer_selects_both_levels_of_sdxl() -> None:
    expected = {"down_blocks.1.attentions.0", "down_blocks.2.attentions.0"}
    assert places("selflayer", "sdxl") == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_notime_is_noxattn_and_cross_attention(family: Family) -> None:
    sizes = sizes_of(family)
    kind = family_named(family)
    both = {*select("noxattn", sizes, kind), *select("xattn", sizes, kind)}
    assert set(select("notime", sizes, kind)) == both


@pytest.mark.parametrize("family", FAMILIES)
def test_the_output_head_stays_under_noxattn_and_notime(family: Family) -> None:
    for method in ("noxattn", "notime"):
        selected = select(method, sizes_of(family), family_named(family))
        assert not [name for name in selected if name.startswith(("conv_out", "conv_norm_out"))]


@pytest.mark.parametrize("method", ["esd-u", "esd-all"])
def test_esd_u_and_esd_all_leave_embeddings_and_ends_of_sdxl_alone(method: str) -> None:
    selected = select(method, sizes_of("sdxl"), family_named("sdxl"))
    assert not [name for name in selected if "emb" in name or "block" not in name]
    assert [
        name
        for name in select(method, sizes_of("sd1"), family_named("sd1"))
        if "time_emb_proj" in name
    ]


def test_a_name_of_neither_layout_is_refused() -> None:
    with pytest.raises(InputError, match=r"double_blocks\.0"):
        select("xattn", ["double_blocks.0.img_attn.qkv.weight"], family_named("sd1"))


@pytest.mark.parametrize("spelling", ["ESD-X", "esd_x", "esdx", " esd-x "])
def test_a_method_is_known_by_its_spellings(spelling: str) -> None:
    assert canonical_method(spelling) == "esd-x"


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean noxattn"):
        canonical_method("noxatn")
