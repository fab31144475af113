"""What is neither a model nor a change of a U-Net is refused by what it is."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from esdctl.checkpoints.changes.other_kinds import other_kind
from esdctl.cli.app import run
from esdctl.models.resolve import resolve_model
from esdctl.storage.workspace import Workspace

Capture = pytest.CaptureFixture[str]
BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
CLIP = "text_model.encoder.layers.0.mlp.fc1.weight"

KINDS = {
    "textual inversion of A1111": (["*"], "textual inversion"),
    "textual inversion of kohya": (["emb_params"], "textual inversion"),
    "textual inversion of diffusers": (["<cat-toy>"], "textual inversion"),
    "textual inversion of SDXL": (["clip_g", "clip_l"], "textual inversion"),
    "ControlNet of diffusers": (
        ["controlnet_cond_embedding.conv_in.weight", "conv_in.weight", f"{BLOCK}.weight"],
        "a ControlNet",
    ),
    "ControlNet of LDM": (["control_model.zero_convs.0.0.weight"], "a ControlNet"),
    "IP-Adapter": (["image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight"], "an IP-Adapter"),
    "T2I-Adapter": (["body.0.block1.weight", "conv_in.weight"], "a T2I-Adapter"),
    "AnimateDiff": (["down_blocks.0.motion_modules.0.proj_in.weight"], "a motion module"),
    "VAE of diffusers": (["encoder.conv_in.weight", "decoder.conv_out.bias"], "a VAE alone"),
    "VAE of LDM": (
        ["encoder.conv_in.weight", "decoder.conv_in.bias", "quant_conv.weight", "loss.logvar"],
        "a VAE alone",
    ),
    "text encoder of transformers": ([CLIP, "text_projection.weight"], "a text encoder alone"),
    "text encoder of transformers 5": (["encoder.layers.0.mlp.fc1.weight"], "a text encoder"),
    "LDM U-Net": (["input_blocks.0.0.weight", "out.2.bias"], "an LDM U-Net alone, or a mask"),
    "hypernetwork": (["768.0.linear.0.weight"], "a hypernetwork"),
    "upscaler": (["model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"], "an upscaler"),
    "Custom Diffusion": ([f"unet.{BLOCK}.weight", "modifier_token.<new1>"], "modifier_token"),
    "delta of two parts": (
        [f"unet.{BLOCK}.weight", f"text_encoder.{CLIP}"], "U-Net and text encoder"
    ),
    "FLUX": (["double_blocks.0.img_attn.qkv.weight"], "Stable Diffusion 3, FLUX"),
    "SD 3": (["transformer.transformer_blocks.0.attn.to_k.weight"], "Stable Diffusion 3, FLUX"),
}  # fmt: skip


def written(path: Path, names: list[str]) -> Path:
    save_file({name: torch.ones(2, 2) for name in names}, path)
    return path


@pytest.mark.parametrize("case", KINDS)
def test_a_file_of_another_kind_is_named_by_every_command(
    case: str, tmp_path: Path, capsys: Capture
) -> None:
    names, told = KINDS[case]
    path = written(tmp_path / "m.safetensors", names)
    for command in (
        ["sample", "--model", str(path), "--base", "pocket", "--prompt", "a", "--dry-run"],
        ["evaluate", "--model", str(path), "--base", "pocket", "--dry-run"],
        ["apply", str(path), "--base", "pocket"],
        ["export", str(path), "--base", "pocket", "--to", "compvis"],
    ):
        assert run([*command, "--root", str(tmp_path)]) == 3
        assert told in capsys.readouterr().err
    assert run(["inspect", str(path)]) == 0
    assert told in capsys.readouterr().out


def test_no_part_of_a_real_model_is_taken_for_another_kind_of_file(tmp_path: Path) -> None:
    files = resolve_model("pocket", Workspace(tmp_path)).files
    assert other_kind(files.read("unet")) is None
    for part, told in (("vae", "a VAE alone"), ("text_encoder", "a text encoder alone")):
        kind = other_kind(files.read(part))  # type: ignore[arg-type]
        assert kind is not None
        assert told in kind.name


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1.0}]}, "an optimizer"),
        ({"optimizer": {"state": {}}, "step": 3}, "an optimizer"),
        ({768: [{"linear.0.weight": torch.ones(2)}], "layer_structure": [1, 2]}, "a hypernetwork"),
    ],
)
def test_a_pickle_without_weights_says_what_it_is(
    content: dict[Any, Any], told: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "m.pt"
    torch.save(content, path)
    assert run(["inspect", str(path)]) == 3
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "status", "told"),
    [
        ([f"down_blocks.{i}.unknown.weight" for i in range(700)], 5, "and 697 more"),
        ([f"something_{i}" for i in range(700)], 3, "and 697 more"),
        (
            [f"unet.{BLOCK.replace('0', '9')}.lora_{side}.weight" for side in "AB"],
            3,
            "modules that the base lacks",
        ),
    ],
)
def test_what_does_not_fit_the_base_is_told_before_a_dry_run_plans_it(
    names: list[str], status: int, told: str, tmp_path: Path, capsys: Capture
) -> None:
    path = written(tmp_path / "m.safetensors", names)
    command = ["sample", "--model", str(path), "--base", "pocket", "--prompt", "a", "--dry-run"]
    assert run([*command, "--root", str(tmp_path)]) == status
    err = capsys.readouterr().err
    assert told in err
    assert len(err) < 700


def test_a_lora_that_names_no_base_is_compared_on_the_one_that_is_given(
    tmp_path: Path, capsys: Capture
) -> None:
    unet = resolve_model("pocket", Workspace(tmp_path)).files.read("unet")
    rows, columns = unet[f"{BLOCK}.weight"].shape
    factors = {"down": torch.ones(1, columns), "up": torch.ones(rows, 1)}
    module = "lora_unet_" + BLOCK.replace(".", "_")
    path = tmp_path / "lora.safetensors"
    save_file({f"{module}.lora_{side}.weight": value for side, value in factors.items()}, path)
    assert run(["diff", "pocket", str(path)]) == 3
    assert "name that model with --base" in capsys.readouterr().err
    assert run(["diff", "pocket", str(path), "--base", "pocket"]) == 0
    assert capsys.readouterr().out == f"unet.{BLOCK}.weight\n"
    assert run(["diff", "pocket", "pocket", "--base", "pocket"]) == 2
