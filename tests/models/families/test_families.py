"""Each family is one file of plain data, and no other module asks for its name."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import esdctl
from esdctl.models.families.family import Family
from esdctl.models.families.registry import all_families, family_named, family_of_denoiser

PACKAGE = Path(esdctl.__file__).parent
NAMES = {family.name for family in all_families()}


def constants_outside_families() -> Iterator[tuple[Path, ast.Constant]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if "families" not in path.parts:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant):
                    yield path, node


def test_the_folder_says_which_families_there_are() -> None:
    assert sorted(NAMES) == ["flux", "flux2", "sd1", "sd2", "sd3", "sdxl"]
    assert all(family_named(name).name == name for name in NAMES)


def test_no_other_module_speaks_of_a_family_by_its_name() -> None:
    found = [f"{path}:{c.lineno}" for path, c in constants_outside_families() if c.value in NAMES]
    assert found == []


def test_the_unets_prefix_stands_in_one_place() -> None:
    found = [
        f"{path}:{constant.lineno}"
        for path, constant in constants_outside_families()
        if isinstance(constant.value, str)
        and constant.value.startswith(("model.diffusion_model", "first_stage_model", "lora_unet_"))
    ]
    assert found == []


@pytest.mark.parametrize("family", all_families(), ids=lambda family: family.name)
def test_every_family_says_whose_names_kohyas_tools_use(family: Family) -> None:
    assert (family.kohya_names or family.lora_names) != "transformer"


def test_families_load_no_torch() -> None:
    code = (
        "import sys; from esdctl.models.families.registry import all_families; all_families(); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"cross_attention_dim": 768}, "sd1"),
        ({"use_linear_projection": True}, "sd2"),
        ({"use_linear_projection": True, "addition_embed_type": "text_time"}, "sdxl"),
    ],
)
def test_a_unets_config_is_of_one_family(config: dict[str, object], name: str) -> None:
    of_unets = [family for family in all_families() if family.denoiser.part == "unet"]
    assert [f.name for f in of_unets if f.denoiser.is_config(config)] == [name]
    assert family_of_denoiser("unet", {"addition_embed_type": "image"}) is None


@pytest.mark.parametrize("family", all_families(), ids=lambda family: family.name)
def test_every_text_encoder_is_a_part(family: Family) -> None:
    assert {encoder.part for encoder in family.encoders} <= family.parts.keys()
    prefixes = [part.prefix for part in family.parts.values() if part.prefix]
    assert len(set(prefixes)) == len(prefixes)
