"""Pipeline folders that hold something else than they seem to: refused by name, or told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from esdctl.checkpoints.layouts.inspection import inspect
from esdctl.checkpoints.layouts.model_files import open_model
from esdctl.errors import InputError
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import load
from esdctl.models.text import encode_prompts
from tests.checkpoints.tiny_models import Family, tiny_folder

Says = Callable[..., Path]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Family], Path]:
    root = tmp_path_factory.mktemp("originals")

    def folder(family: Family) -> Path:
        return root / family if (root / family).exists() else tiny_folder(family, root / family)

    return folder


@pytest.fixture
def folder_that_says(originals: Callable[[Family], Path], tmp_path: Path) -> Says:
    """A family's folder in which a file says something else; ``...`` takes a key out."""

    def folder(file: str, family: Family = "sd1", **says: Any) -> Path:
        copy = tmp_path / "model"
        if not copy.exists():
            shutil.copytree(originals(family), copy)
        path = copy / file
        content = json.loads(path.read_text()) if path.exists() else {}
        content = {k: v for k, v in {**content, **says}.items() if v is not ...}
        path.write_text(json.dumps(content))
        return copy

    return folder


def notes(folder: Path) -> tuple[str, ...]:
    found = open_model(folder).architecture.notes
    assert inspect(folder).notes == found
    return found


SCHEDULER = "scheduler/scheduler_config.json"


@pytest.mark.parametrize("family", ["sd1", "sd2", "sd2-v", "sdxl"])
def test_of_a_plain_folder_there_is_nothing_to_tell(
    family: Family, originals: Callable[[Family], Path]
) -> None:
    assert notes(originals(family)) == ()


@pytest.mark.parametrize(
    ("says", "match"),
    [
        ({"_class_name": "EDMEulerScheduler", "sigma_data": 0.5}, "EDMEulerScheduler.*sigma_data"),
        ({"_class_name": "EDMDPMSolverMultistepScheduler"}, "EDMDPMSolverMultistepScheduler"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "FlowMatchEulerDiscreteScheduler"),
        ({"_class_name": "ScoreSdeVeScheduler"}, "ScoreSdeVeScheduler"),
        ({"sigma_data": 1.0}, r"sigma_data 1\.0"),
        ({"use_flow_sigmas": True, "flow_shift": 3}, "use_flow_sigmas True"),
        ({"timestep_type": "continuous", "sigma_max": 120}, "timestep_type 'continuous'"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr True"),
        ({"num_train_timesteps": 500}, "num_train_timesteps 500"),
        ({"beta_schedule": "squaredcos_cap_v2"}, "beta_schedule 'squaredcos_cap_v2'"),
        ({"beta_schedule": "linear"}, "beta_schedule 'linear'"),
        ({"trained_betas": [0.1]}, "trained_betas"),
        ({"prediction_type": "sample"}, "prediction_type 'sample'"),
        ({"prediction_type": "flow_prediction"}, "prediction_type 'flow_prediction'"),
        ({"timestep_spacing": "karras"}, "timestep_spacing 'karras'"),
        ({"snr_shift_scale": 3}, "snr_shift_scale 3"),
        ({"beta_start": "0.00085"}, "senseless beta_start"),
        ({"beta_end": 2}, "senseless beta_end"),
        ({"beta_schedule": ..., "beta_start": ...}, "does not say beta_schedule, beta_start"),
    ],
)
def test_another_diffusion_process_is_refused_by_its_name(
    says: dict[str, Any], match: str, folder_that_says: Says
) -> None:
    folder = folder_that_says(SCHEDULER, **says)
    for read in (open_model, inspect):
        with pytest.raises(InputError, match=match):
            read(folder)


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ({"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": True}, ""),
        ({"timestep_spacing": "trailing"}, ""),
        ({"timestep_spacing": "linspace"}, "timestep_spacing linspace"),
        ({"clip_sample": True, "thresholding": True}, "clip_sample True, thresholding True"),
        ({"set_alpha_to_one": True}, "set_alpha_to_one True"),
    ],
)
def test_a_samplers_own_settings_are_used_or_told(
    says: dict[str, Any], told: str, folder_that_says: Says
) -> None:
    found = notes(folder_that_says(SCHEDULER, **says))
    assert told in found[0] if told else found == ()


@pytest.mark.parametrize(
    ("file", "says", "match"),
    [
        ("vae", {"latents_mean": [0.1] * 4, "latents_std": [9.0] * 4}, "latents_mean"),
        ("vae", {"shift_factor": 0.06}, "shift_factor"),
        ("vae", {"use_quant_conv": False}, "use_quant_conv"),
        ("vae", {"mid_block_add_attention": False}, "mid_block_add_attention"),
        ("vae", {"_class_name": "AutoencoderTiny"}, "AutoencoderTiny"),
        ("vae", {"latent_channels": 16}, "latent_channels 16"),
        ("vae", {"act_fn": "relu"}, "act_fn"),
        ("vae", {"scaling_factor": "0.18215"}, "senseless scaling_factor"),
        ("vae", {"scaling_factor": 0}, "senseless scaling_factor"),
        ("vae", {"scaling_factor": None}, "senseless scaling_factor"),
        ("unet", {"class_embed_type": "timestep"}, "class_embed_type"),
        ("unet", {"num_class_embeds": 1000}, "num_class_embeds"),
        ("unet", {"addition_embed_type": "image"}, "addition_embed_type 'image'"),
        ("unet", {"time_cond_proj_dim": 256}, "time_cond_proj_dim 256"),
        ("unet", {"encoder_hid_dim": 1024}, "encoder_hid_dim"),
        ("unet", {"dual_cross_attention": True}, "dual_cross_attention"),
        ("unet", {"resnet_time_scale_shift": "scale_shift"}, "resnet_time_scale_shift"),
        ("unet", {"attention_type": "gated"}, "attention_type 'gated'"),
        ("unet", {"mid_block_type": None}, "mid_block_type None"),
        ("unet", {"act_fn": "gelu"}, "act_fn"),
        ("unet", {"flip_sin_to_cos": False}, "flip_sin_to_cos"),
        ("unet", {"norm_eps": 1e-6}, "norm_eps"),
        ("unet", {"out_channels": 8}, "out_channels 8"),
        ("unet", {"layers_per_block": [2, 2, 2, 1]}, "several values of layers_per_block"),
        ("unet", {"sample_size": [64, 96]}, "several values of sample_size"),
        ("unet", {"down_block_types": ["SimpleCrossAttnDownBlock2D"] * 4}, "down_block_types"),
        ("unet", {"_class_name": "UNetMotionModel"}, "UNetMotionModel"),
        ("unet", {"quantization_config": {"load_in_4bit": True}}, "quantization_config"),
        ("unet", {"in_channels": 9}, "inpainting"),
        ("text_encoder", {"model_type": "roberta_series"}, "model_type 'roberta_series'"),
        ("text_encoder", {"model_type": "clip", "text_config": {}}, "model_type 'clip'"),
        ("text_encoder", {"use_attention_mask": True}, "use_attention_mask"),
        ("text_encoder", {"eos_token_id": 49_410}, "ends with token 49407"),
    ],
)
def test_a_part_that_would_be_computed_otherwise_is_refused_by_name(
    file: str, says: dict[str, Any], match: str, folder_that_says: Says
) -> None:
    with pytest.raises(InputError, match=match):
        open_model(folder_that_says(f"{file}/config.json", **says))


def test_what_a_config_says_beyond_what_is_used_is_told(folder_that_says: Says) -> None:
    folder = folder_that_says("unet/config.json", freeu={"b1": 1.2}, _commit="x")
    folder_that_says("vae/config.json", tile_size=64)
    unet, vae = notes(folder)
    assert "unet says more than this version uses: freeu" in unet
    assert "vae says more than this version uses: tile_size" in vae


@pytest.mark.parametrize(
    ("family", "file", "says"),
    [
        ("sd1", "text_encoder", {"eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 1}),
        ("sdxl", "text_encoder_2", {"eos_token_id": 2}),
        ("sdxl", "unet", {"transformer_layers_per_block": [0, 2, 3], "upcast_attention": True}),
        ("sd1", "unet", {"dropout": 0.1, "act_fn": "swish"}),
    ],
)
def test_what_published_configs_say_in_other_words_is_the_same_model(
    family: Family,
    file: str,
    says: dict[str, Any],
    folder_that_says: Says,
    originals: Callable[[Family], Path],
) -> None:
    folder = folder_that_says(f"{file}/config.json", family, **says)
    assert notes(folder) == ()
    assert torch.equal(embeddings(folder, ["a"]), embeddings(originals(family), ["a"]))
    unet = load(Pipeline("tiny", folder), torch.device("cpu")).denoiser
    assert len(unet.state_dict()) == len(open_model(folder).read("unet"))


@pytest.mark.parametrize(
    ("says", "match"),
    [
        ({"_class_name": "StableDiffusionUpscalePipeline"}, "StableDiffusionUpscalePipeline"),
        ({"_class_name": "StableDiffusionControlNetPipeline"}, "ControlNetPipeline"),
        ({"_class_name": "StableDiffusionInstructPix2PixPipeline"}, "Pix2Pix"),
        ({"_class_name": "StableDiffusionXLPipeline"}, "XLPipeline, not a StableDiffusionPipe"),
        ({"_class_name": "LatentConsistencyModelPipeline"}, "LatentConsistency"),
        ({"controlnet": ["diffusers", "ControlNetModel"]}, "controlnet"),
        ({"image_encoder": ["transformers", "CLIPVisionModelWithProjection"]}, "image_encoder"),
        ({"motion_adapter": ["diffusers", "MotionAdapter"]}, "motion_adapter"),
        ({"text_encoder": [None, None]}, "text_encoder is absent"),
        ({"text_encoder": ["transformers", "T5EncoderModel"]}, "T5EncoderModel"),
        ({"unet": ["pipeline", "MyUNet"]}, "MyUNet"),
        ({"vae": ["diffusers", "AutoencoderTiny"]}, "AutoencoderTiny"),
        ({"requires_aesthetics_score": True}, "refiner"),
    ],
)
def test_a_pipeline_for_another_task_is_refused_by_name(
    says: dict[str, Any], match: str, folder_that_says: Says
) -> None:
    with pytest.raises(InputError, match=match):
        open_model(folder_that_says("model_index.json", **says))


@pytest.mark.parametrize(
    "says",
    [
        {"_class_name": "StableDiffusionImg2ImgPipeline"},
        {"image_encoder": [None, None], "requires_aesthetics_score": False},
        {"feature_extractor": ["transformers", "CLIPImageProcessor"]},
        {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]},
    ],
)
def test_a_pipeline_that_uses_the_same_model_is_read(
    says: dict[str, Any], folder_that_says: Says
) -> None:
    assert notes(folder_that_says("model_index.json", **says)) == ()


def test_sdxls_refiner_is_refused_by_what_its_unet_is_told(folder_that_says: Says) -> None:
    told = {"projection_class_embeddings_input_dim": 64 + 5 * 16}
    folder = folder_that_says("unet/config.json", "sdxl", **told)
    with pytest.raises(InputError, match="5 numbers beside the prompt"):
        open_model(folder)


def test_an_sdxl_that_does_not_say_its_size_conditions_is_refused(folder_that_says: Says) -> None:
    folder = folder_that_says("unet/config.json", "sdxl", addition_time_embed_dim=None)
    with pytest.raises(InputError, match="addition_time_embed_dim"):
        open_model(folder)


def test_the_empty_prompt_of_sdxl_is_true_or_false(folder_that_says: Says) -> None:
    says = {"force_zeros_for_empty_prompt": "false"}
    with pytest.raises(InputError, match="'false'"):
        open_model(folder_that_says("model_index.json", "sdxl", **says))


@pytest.mark.parametrize("text", [None, "#version: 0.2\ni n\nt h\n"])
def test_merges_that_are_missing_or_cut_are_refused(
    text: str | None, folder_that_says: Says
) -> None:
    merges = folder_that_says("model_index.json") / "tokenizer" / "merges.txt"
    merges.unlink()
    if text is not None:
        merges.write_text(text)
    with pytest.raises(InputError, match=r"merges\.txt"):
        open_model(merges.parents[1])


def test_weights_of_another_framework_are_named(folder_that_says: Says) -> None:
    unet = folder_that_says("model_index.json") / "unet"
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    (unet / "diffusion_flax_model.msgpack").write_bytes(b"x")
    with pytest.raises(InputError) as error:
        open_model(unet.parent)
    assert "diffusion_flax_model.msgpack" in str(error.value.hint)


def test_a_folder_without_sample_size_has_its_familys(folder_that_says: Says) -> None:
    folder = folder_that_says("unet/config.json", sample_size=None)
    found = open_model(folder).architecture
    assert found.denoiser["sample_size"] == 64
    assert "64 is assumed" in found.notes[0]


def embeddings(folder: Path, prompts: list[str]) -> torch.Tensor:
    return encode_prompts(load(Pipeline("tiny", folder), torch.device("cpu")), prompts).embeddings


def with_another_row(folder: Path) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    [name] = [name for name in tensors if "token_embedding" in name]
    tensors[name] = torch.cat([tensors[name], tensors[name][320:321] * 2])
    save_file(tensors, path, {"format": "pt"})


def test_an_added_token_with_its_embedding_is_used(
    folder_that_says: Says, originals: Callable[[Family], Path]
) -> None:
    folder = folder_that_says("tokenizer/added_tokens.json", **{"<cat-toy>": 49_408})
    folder_that_says("text_encoder/config.json", vocab_size=49_409)
    with_another_row(folder)
    plain, added = embeddings(folder, ["a photo", "a <cat-toy>"])
    assert torch.equal(plain, embeddings(originals("sd1"), ["a photo"])[0])
    assert not torch.equal(added, embeddings(originals("sd1"), ["a <cat-toy>"])[0])


def test_an_added_token_without_an_embedding_is_refused(folder_that_says: Says) -> None:
    folder = folder_that_says("tokenizer/added_tokens.json", **{"<cat-toy>": 49_408})
    with pytest.raises(InputError, match="<cat-toy>"):
        open_model(folder)


def test_a_textual_inversion_of_several_vectors_is_refused(folder_that_says: Says) -> None:
    added = {"<cat-toy>": 49_408, "<cat-toy>_1": 49_409}
    folder = folder_that_says("tokenizer/added_tokens.json", **added)
    folder_that_says("text_encoder/config.json", vocab_size=49_410)
    with pytest.raises(InputError, match="several vectors: <cat-toy>"):
        open_model(folder)


def test_a_tokenizer_that_does_not_say_its_length_takes_the_encoders(
    folder_that_says: Says, originals: Callable[[Family], Path]
) -> None:
    folder = folder_that_says("tokenizer/tokenizer_config.json", model_max_length=...)
    assert torch.equal(embeddings(folder, ["a"]), embeddings(originals("sd1"), ["a"]))


def test_a_damaged_tokenizer_is_refused(folder_that_says: Says) -> None:
    folder = folder_that_says("tokenizer/added_tokens.json")
    (folder / "tokenizer" / "vocab.json").write_text("{")
    with pytest.raises(InputError, match=r"tokenizer in .* is damaged"):
        open_model(folder)


@pytest.mark.parametrize(
    "other", ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.non_ema.safetensors"]
)
def test_weights_that_are_not_read_are_told(other: str, folder_that_says: Says) -> None:
    folder = folder_that_says("model_index.json")
    unet = folder / "unet" / "diffusion_pytorch_model.safetensors"
    (folder / "unet" / other).write_bytes(unet.read_bytes())
    [note] = notes(folder)
    assert note == f"the unet is read from {unet.name}; its other weights are not: {other}"


def test_a_lora_beside_the_parts_is_told(folder_that_says: Says) -> None:
    folder = folder_that_says("model_index.json")
    (folder / "pytorch_lora_weights.safetensors").write_bytes(b"")
    [note] = notes(folder)
    assert "pytorch_lora_weights.safetensors" in note
