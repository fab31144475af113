"""Checkpoints as other programs write them: read as what they are, or refused by name."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from esdctl.checkpoints.layouts.inspection import inspect
from esdctl.checkpoints.layouts.model_files import ModelFiles, open_model
from esdctl.errors import InputError
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import load
from esdctl.models.text import encode_prompts
from tests.checkpoints.tiny_models import Family, tiny_compvis, tiny_folder

CPU = torch.device("cpu")
PROMPTS = ["a painting by Van Gogh", ""]
SD2_TEXT = "cond_stage_model.model."
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Family], Path]:
    root = tmp_path_factory.mktemp("folders")

    def folder(family: Family) -> Path:
        return root / family if (root / family).exists() else tiny_folder(family, root / family)

    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Family], Tensors]:
    """The tensors of each family's checkpoint, with the weights of its folder."""
    root = tmp_path_factory.mktemp("files")

    def tensors(family: Family) -> Tensors:
        path = root / f"{family}.safetensors"
        return load_file(path if path.exists() else tiny_compvis(family, path))

    return tensors


def written(path: Path, tensors: Mapping[str, torch.Tensor], **metadata: str) -> Path:
    said = {f"modelspec.{key}": value for key, value in metadata.items()}
    save_file({name: t.contiguous() for name, t in tensors.items()}, path, said)
    return path


def is_equal(one: ModelFiles, other: ModelFiles) -> bool:
    return one.parts == other.parts and one.digest() == other.digest()


def embeddings(path: Path) -> torch.Tensor:
    found = encode_prompts(load(Pipeline("tiny", path), CPU), PROMPTS)
    return found.embeddings if found.pooled is None else found.pooled


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_clip_may_lack_text_model_in_its_names(
    family: Family,
    folders: Callable[[Family], Path],
    whole: Callable[[Family], Tensors],
    tmp_path: Path,
) -> None:
    bare = {name.replace(".text_model.", "."): t for name, t in whole(family).items()}
    assert bare.keys() != whole(family).keys()
    path = written(tmp_path / "m.safetensors", bare)
    assert is_equal(open_model(path), open_model(folders(family)))
    assert inspect(path).parts["text_encoder"] == inspect(folders(family)).parts["text_encoder"]


def test_a_tensor_under_both_of_its_names_is_refused(
    whole: Callable[[Family], Tensors], tmp_path: Path
) -> None:
    name = "cond_stage_model.transformer.text_model.final_layer_norm.bias"
    tensors = whole("sd1")
    tensors[name.replace("text_model.", "")] = tensors[name] + 1
    with pytest.raises(InputError, match=r"holds .*final_layer_norm\.bias twice"):
        open_model(written(tmp_path / "m.safetensors", tensors))


def without_last_layer(tensors: Tensors) -> Tensors:
    """As written from a pipeline folder, which has neither OpenCLIP's last layer nor projection."""
    dropped = (f"{SD2_TEXT}transformer.resblocks.2.", f"{SD2_TEXT}text_projection")
    return {name: t for name, t in tensors.items() if not name.startswith(dropped)}


@pytest.mark.parametrize("is_whole", [True, False])
def test_every_layer_that_sd_2s_folder_reads_is_read_from_one_file(
    is_whole: bool,
    folders: Callable[[Family], Path],
    whole: Callable[[Family], Tensors],
    tmp_path: Path,
) -> None:
    tensors = whole("sd2") if is_whole else without_last_layer(whole("sd2"))
    path = written(tmp_path / "m.safetensors", tensors)
    assert open_model(path).architecture.config("text_encoder")["num_hidden_layers"] == 2
    assert torch.equal(embeddings(path), embeddings(folders("sd2")))


@pytest.mark.parametrize(("layers", "read"), [(24, 23), (23, 23), (22, 22)])
def test_of_24_layers_of_open_clip_the_last_is_left_out(
    layers: int, read: int, whole: Callable[[Family], Tensors]
) -> None:
    from esdctl.checkpoints.layouts.part_shapes import text_config
    from esdctl.checkpoints.tensor_info import TensorInfo
    from esdctl.models.families.sd2 import FAMILY

    infos = {
        f"{SD2_TEXT}token_embedding.weight": TensorInfo("F32", (49_408, 1024)),
        f"{SD2_TEXT}positional_embedding": TensorInfo("F32", (77, 1024)),
        f"{SD2_TEXT}text_projection": TensorInfo("F32", (1024, 1024)),
    }
    for layer in range(layers):
        name = f"{SD2_TEXT}transformer.resblocks.{layer}.mlp.c_fc.weight"
        infos[name] = TensorInfo("F32", (4096, 1024))
    config = text_config(infos, Path("m"), FAMILY, FAMILY.encoders[0], None)
    assert config["num_hidden_layers"] == read


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_spare_rows_of_the_token_embedding_change_nothing_and_are_told(
    family: Family,
    folders: Callable[[Family], Path],
    whole: Callable[[Family], Tensors],
    tmp_path: Path,
) -> None:
    tensors = whole(family)
    for name, tensor in tensors.items():
        if "token_embedding" in name:
            tensors[name] = torch.cat([tensor, torch.ones(1, tensor.shape[1])])
    path = written(tmp_path / "m.safetensors", tensors)
    assert torch.equal(embeddings(path), embeddings(folders(family)))
    notes = open_model(path).architecture.notes
    assert any("1 more tokens than CLIP's vocabulary" in note for note in notes)


def test_a_vocabulary_smaller_than_clips_is_refused(
    whole: Callable[[Family], Tensors], tmp_path: Path
) -> None:
    tensors = whole("sd1")
    name = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
    tensors[name] = tensors[name][:1000]
    with pytest.raises(InputError, match="1000 tokens"):
        open_model(written(tmp_path / "m.safetensors", tensors))


@pytest.mark.parametrize(
    ("family", "metadata", "expected"),
    [
        ("sd1", {"prediction_type": "v"}, "v_prediction"),
        ("sd2", {"prediction_type": "epsilon"}, "epsilon"),
        ("sd2", {"architecture": "stable-diffusion-v2-512"}, "epsilon"),
        ("sd2", {"architecture": "stable-diffusion-v2-768-v"}, "v_prediction"),
        ("sdxl", {"predict_key": "v"}, "v_prediction"),
        ("sdxl", {"architecture": "stable-diffusion-xl-v1-base"}, "epsilon"),
    ],
)
def test_the_metadata_says_what_the_model_predicts(
    family: Family,
    metadata: dict[str, str],
    expected: str,
    whole: Callable[[Family], Tensors],
    tmp_path: Path,
) -> None:
    path = written(tmp_path / "m.safetensors", whole(family), **metadata)
    told = open_model(path).architecture
    assert told.prediction_type == told.scheduler["prediction_type"] == expected
    assert inspect(path).prediction_type == expected
    assert told.notes == ()


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_mark_among_the_tensors_says_that_a_model_predicts_v(
    family: Family, whole: Callable[[Family], Tensors], tmp_path: Path
) -> None:
    tensors = {**whole(family), "v_pred": torch.empty(0)}
    told = open_model(written(tmp_path / "m.safetensors", tensors)).architecture
    assert told.prediction_type == "v_prediction"


@pytest.mark.parametrize(
    ("metadata", "match"),
    [
        ({"architecture": "stable-diffusion-xl-v1-base"}, "says stable-diffusion-xl-v1-base"),
        ({"prediction_type": "sample"}, "predicts 'sample'"),
        ({"prediction_type": "v", "predict_key": "epsilon"}, "contradictions"),
        ({"architecture": "stable-diffusion-v2-512", "prediction_type": "v"}, "contradictions"),
    ],
)
def test_metadata_that_contradicts_is_refused(
    metadata: dict[str, str], match: str, whole: Callable[[Family], Tensors], tmp_path: Path
) -> None:
    path = written(tmp_path / "m.safetensors", whole("sd2"), **metadata)
    with pytest.raises(InputError, match=match):
        open_model(path)


def test_the_user_decides_between_contradictions(
    whole: Callable[[Family], Tensors], tmp_path: Path
) -> None:
    tensors = {**whole("sdxl"), "v_pred": torch.empty(0)}
    path = written(tmp_path / "m.safetensors", tensors, prediction_type="epsilon")
    with pytest.raises(InputError, match="contradictions"):
        open_model(path)
    told = open_model(path, prediction_type="epsilon").architecture
    assert told.prediction_type == "epsilon"


def test_a_named_prediction_type_goes_with_its_size(
    whole: Callable[[Family], Tensors], tmp_path: Path
) -> None:
    path = written(tmp_path / "m.safetensors", whole("sd2"))
    assert open_model(path).architecture.denoiser["sample_size"] == 96
    assert open_model(path, prediction_type="epsilon").architecture.denoiser["sample_size"] == 64


def test_the_metadatas_resolution_is_the_models_size(
    whole: Callable[[Family], Tensors], tmp_path: Path
) -> None:
    path = written(tmp_path / "m.safetensors", whole("sd1"), resolution="768x768")
    told = open_model(path).architecture
    assert (told.denoiser["sample_size"], told.vae["sample_size"]) == (96, 768)


@pytest.mark.parametrize(
    ("metadata", "match"),
    [
        ({"resolution": "832x1216"}, "832x1216"),
        ({"encoder_layer": "2"}, "clip skip"),
        ({"architecture": "Flux.1-dev"}, "Flux.1-dev"),
    ],
)
def test_what_the_metadata_says_and_nothing_uses_is_told(
    metadata: dict[str, str], match: str, whole: Callable[[Family], Tensors], tmp_path: Path
) -> None:
    path = written(tmp_path / "m.safetensors", whole("sd1"), **metadata)
    [note] = open_model(path).architecture.notes
    assert match in note
    assert inspect(path).notes == (note,)


@pytest.mark.parametrize(
    ("extra", "match"),
    [
        ("edm_vpred.sigma_max", "edm_vpred.sigma_max"),
        ("ztsnr", "zero terminal SNR"),
        ("control_model.input_hint_block.0.weight", "control_model"),
        ("model.diffusion_model.input_blocks.1.1.adapter.weight", "adapter"),
        ("model.diffusion_model.time_embed.cond_proj.weight", "cond_proj"),
        ("embedding_manager.string_to_param_dict.*", "embedding_manager"),
        ("depth_model.x", "depth_model"),
        ("cond_stage_model.transformer.text_model.encoder.layers.0.lora_A.weight", "lora_A"),
        ("state_dict.model.diffusion_model.out.2.bias", "state_dict"),
    ],
)
def test_tensors_that_nothing_uses_are_named(
    extra: str, match: str, whole: Callable[[Family], Tensors], tmp_path: Path
) -> None:
    tensors = {**whole("sd1"), extra: torch.ones(1)}
    with pytest.raises(InputError, match=match):
        open_model(written(tmp_path / "m.safetensors", tensors))


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("joint_blocks.0.x_block.attn.qkv.weight", "Stable Diffusion 3"),
        ("double_blocks.0.img_attn.qkv.weight", "FLUX"),
        ("down_blocks.0.resnets.0.conv1.weight", "diffusers' names"),
    ],
)
def test_another_network_is_named(
    name: str, match: str, whole: Callable[[Family], Tensors], tmp_path: Path
) -> None:
    tensors = {**whole("sd1"), f"model.diffusion_model.{name}": torch.ones(1)}
    with pytest.raises(InputError, match=match):
        open_model(written(tmp_path / "m.safetensors", tensors))


def test_averages_that_are_left_aside_are_told(
    whole: Callable[[Family], Tensors], tmp_path: Path
) -> None:
    average = {"model_ema.diffusion_modeltime_embed0weight": torch.ones(1)}
    path = written(tmp_path / "m.safetensors", {**whole("sd1"), **average})
    [note] = open_model(path).architecture.notes
    assert "averaged weights" in note


def test_weights_in_8_bits_are_refused_with_what_helps(
    whole: Callable[[Family], Tensors], tmp_path: Path
) -> None:
    tensors = whole("sd1")
    name = "model.diffusion_model.out.2.bias"
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)
    with pytest.raises(InputError, match=f"{name} has the type F8_E4M3") as error:
        open_model(written(tmp_path / "m.safetensors", tensors))
    assert "fp16" in str(error.value.hint)


def test_other_metadata_is_passed_over(whole: Callable[[Family], Tensors], tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    said = {"format": "pt", "prompt": "{}", "workflow": "{}", "sd_merge_models": "{}"}
    save_file(whole("sd1"), path, said)
    assert open_model(path).architecture.notes == ()
    with safe_open(path, "pt") as file:
        assert file.metadata() == said
