"""Files of SD 3 and FLUX: the transformer alone or the whole model, with diffusers as oracle."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers.loaders import single_file_utils as oracle

from esdctl.checkpoints.layouts.accounting import account
from esdctl.checkpoints.layouts.compvis_architecture import architecture_of_compvis
from esdctl.checkpoints.layouts.inspection import inspect
from esdctl.checkpoints.layouts.key_map import to_compvis
from esdctl.checkpoints.layouts.model_files import ModelFiles, open_model
from esdctl.checkpoints.layouts.transformed import stored_tensors
from esdctl.checkpoints.tensor_info import TensorInfo
from esdctl.errors import InputError, UsageError
from esdctl.models.families.family import Part
from tests.checkpoints.tiny_flow_models import tiny_sd3
from tests.checkpoints.tiny_flux2_models import tiny_flux2
from tests.checkpoints.tiny_flux_models import tiny_flux
from tests.checkpoints.tiny_models import tiny_folder
from tests.checkpoints.tiny_one_file import (
    CLIP_L,
    T5,
    UNET,
    Tensors,
    black_forest,
    black_forest_2,
    part_of,
    stability,
    whole_flux,
    whole_sd3,
    with_identity,
    with_prefix,
    written,
)

KINDS = ("sd3", "sd3.5", "flux-dev", "flux-schnell", "flux2")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@cache
def folder_of(kind: str, root: Path) -> Path:
    """A pipeline folder of a kind, with T5."""
    folder = root / kind
    if kind == "flux2":
        return tiny_flux2(folder, is_wide=True)
    if kind.startswith("flux"):
        return tiny_flux(folder, is_schnell=kind == "flux-schnell", is_wide=True)
    return with_identity(tiny_sd3(folder, dual=kind == "sd3.5", channels_a_head=64))


@cache
def alone(kind: str, root: Path) -> Tensors:
    """The transformer under its makers' names."""
    tensors = part_of(folder_of(kind, root), "transformer")
    if kind == "flux2":
        return black_forest_2(tensors)
    return black_forest(tensors) if kind.startswith("flux") else stability(tensors)


def file_of(kind: str, root: Path, path: Path, prefix: str = "") -> Path:
    return written(path, with_prefix(prefix, alone(kind, root)))


def assert_same(ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> None:
    assert set(ours) == set(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_diffusers_reads_these_files_as_the_folder_they_were_made_from(
    kind: str, root: Path
) -> None:
    read: Any = oracle.convert_sd3_transformer_checkpoint_to_diffusers
    tensors = dict(alone(kind, root))
    if kind == "flux2":
        read = oracle.convert_flux2_transformer_checkpoint_to_diffusers
    elif kind.startswith("flux"):
        read = _converted_flux
    assert_same(read(tensors), part_of(folder_of(kind, root), "transformer"))


def _converted_flux(tensors: Tensors) -> Tensors:
    """diffusers' converter splits single blocks at 3,072 channels; those of ours stay outside."""
    single = {name for name in tensors if name.startswith("single_blocks.")}
    fused = {name: tensors[name] for name in single if ".linear1." in name}
    wide = {name: torch.zeros(3072 * 7, *value.shape[1:]) for name, value in fused.items()}
    found: Tensors = oracle.convert_flux_transformer_checkpoint_to_diffusers({**tensors, **wide})
    for name, value in fused.items():
        _, number, _, end = name.split(".")
        block, width = f"single_transformer_blocks.{number}", len(value) // 7
        names = [f"{block}.attn.to_{letter}.{end}" for letter in "qkv"]
        names.append(f"{block}.proj_mlp.{end}")
        found |= dict(zip(names, value.split([width, width, width, 4 * width]), strict=True))
    return found


@pytest.mark.parametrize("prefix", ["", UNET])
@pytest.mark.parametrize("kind", KINDS)
def test_a_transformer_alone_and_a_folder_are_the_whole_model(
    kind: str, prefix: str, root: Path, tmp_path: Path
) -> None:
    folder = folder_of(kind, root)
    file = file_of(kind, root, tmp_path / "m.safetensors", prefix)
    found, whole = open_model(file, supplier=folder), open_model(folder)
    assert found.layout == "compvis"
    assert found.parts == whole.parts
    assert_same(found.read("transformer"), part_of(folder, "transformer"))
    assert found.digest() == whole.digest()
    assert [t.folder for t in found.tokenizers] == [t.folder for t in whole.tokenizers]
    assert found.architecture.document() == whole.architecture.document()
    assert any(f"read from {folder}" in note for note in found.architecture.notes)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_tell_the_config_of_the_published_models(
    kind: str, root: Path, tmp_path: Path
) -> None:
    folder = folder_of(kind, root)
    (tmp_path / "rest").mkdir()
    for child in folder.iterdir():  # all but the transformer
        if child.name != "transformer":
            (tmp_path / "rest" / child.name).symlink_to(child)
    file = file_of(kind, root, tmp_path / "m.safetensors")
    told = open_model(file, supplier=tmp_path / "rest").architecture
    true = open_model(folder).architecture
    decisive = {key for key in true.denoiser if not key.startswith("_")} - {"sample_size"}
    for key in decisive & set(told.denoiser):
        assert _listed(told.denoiser[key]) == _listed(true.denoiser[key]), key
    assert {k for k in decisive if true.denoiser[k] is not None} - set(told.denoiser) == set()
    keys = ("shift", "use_dynamic_shifting")
    assert [told.noise[key] for key in keys if key in told.noise] == [
        true.noise[key] for key in keys if key in told.noise
    ]


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("kind", ["sd3", "flux-dev", "flux2"])
def test_a_transformer_alone_says_what_supplies_the_rest(
    kind: str, root: Path, tmp_path: Path
) -> None:
    file = file_of(kind, root, tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="it holds no vae, no text_encoder") as error:
        open_model(file)
    assert "--pipeline FOLDER" in str(error.value.hint)


def test_a_file_that_lies_in_a_pipeline_folder_is_completed_by_it(
    root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    for child in folder_of("sd3.5", root).iterdir():
        (folder / child.name).symlink_to(child)
    file = file_of("sd3.5", root, folder / "sd3.5_medium.safetensors", UNET)
    assert open_model(file).digest() == open_model(folder_of("sd3.5", root)).digest()


def test_a_pipeline_folder_of_another_family_is_refused(root: Path, tmp_path: Path) -> None:
    file = file_of("sd3", root, tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="is a FluxPipeline"):
        open_model(file, supplier=folder_of("flux-dev", root))


def test_a_model_that_is_whole_needs_no_other(root: Path, tmp_path: Path) -> None:
    folder = tiny_folder("sd1", tmp_path / "sd1")
    with pytest.raises(UsageError, match="is a whole model and needs none"):
        open_model(folder, supplier=folder_of("sd3", root))


def test_a_whole_file_of_sd3_is_read_without_t5_and_says_so(root: Path, tmp_path: Path) -> None:
    folder = folder_of("sd3", root)
    with_t5, without = (
        written(tmp_path / f"{has_t5}.safetensors", whole_sd3(folder, has_t5))
        for has_t5 in (True, False)
    )
    whole = open_model(folder)
    for file, word in ((with_t5, "is left out"), (without, "is not in the file")):
        found = open_model(file)
        assert found.parts == ("transformer", "vae", "text_encoder", "text_encoder_2")
        for part in found.parts:
            assert_same(found.read(part), whole.read(part))
        [note] = found.architecture.notes
        assert f"the text_encoder_3 (T5) {word}" in note
        assert "--pipeline FOLDER" in note
        assert [t.padding for t in found.tokenizers] == [None, "!"]


@pytest.mark.parametrize("has_t5", [True, False])
def test_a_folder_makes_a_whole_file_of_sd3_read_t5(
    has_t5: bool, root: Path, tmp_path: Path
) -> None:
    folder = folder_of("sd3", root)
    file = written(tmp_path / "m.safetensors", whole_sd3(folder, has_t5))
    found = open_model(file, supplier=folder)
    assert found.digest() == open_model(folder).digest()
    assert found.tokenizers[2].folder == folder / "tokenizer_3"
    t5 = found.files[1:] if not has_t5 else ()
    assert [path.parent.name for path in t5] == ([] if has_t5 else ["text_encoder_3"])


def test_the_other_parts_of_a_whole_file_are_told_by_their_shapes(
    root: Path, tmp_path: Path
) -> None:
    folder = folder_of("sd3", root)
    file = written(tmp_path / "m.safetensors", whole_sd3(folder, has_t5=True))
    found, whole = open_model(file, supplier=folder), open_model(folder)
    undecided = {"model_type", "architectures", "pad_token_id", "eos_token_id", "sample_size"}
    parts: tuple[Part, ...] = ("vae", "text_encoder", "text_encoder_2", "text_encoder_3")
    for part in parts:
        config, true = found.architecture.config(part), whole.architecture.config(part)
        for key in config.keys() - undecided:
            assert _listed(config[key]) == _listed(true[key]), (part, key)


def test_flux_needs_the_tokenizer_of_t5(root: Path, tmp_path: Path) -> None:
    folder = folder_of("flux-dev", root)
    file = written(tmp_path / "m.safetensors", whole_flux(folder))
    with pytest.raises(InputError, match=r"no tokenizer for its text_encoder_2 \(T5\)") as error:
        open_model(file)
    assert "--pipeline FOLDER" in str(error.value.hint)
    assert open_model(file, supplier=folder).digest() == open_model(folder).digest()


def test_a_projection_of_clip_that_nobody_reads_is_left_aside(root: Path, tmp_path: Path) -> None:
    tensors = whole_sd3(folder_of("sd3", root), has_t5=False)
    tensors[f"{CLIP_L}text_projection.weight"] = torch.randn(32, 32)
    found = open_model(written(tmp_path / "m.safetensors", tensors))
    assert torch.equal(found.read("text_encoder")["text_projection.weight"], torch.eye(32))


def test_fp8_is_refused_but_for_t5_that_a_folder_has(root: Path, tmp_path: Path) -> None:
    folder = folder_of("flux-dev", root)
    tensors = whole_flux(folder)
    fp8 = {n: v.to(torch.float8_e4m3fn) for n, v in tensors.items() if n.startswith(T5)}
    file = written(tmp_path / "t5.safetensors", {**tensors, **fp8})
    assert open_model(file, supplier=folder).digest() == open_model(folder).digest()
    name = f"{UNET}double_blocks.0.img_attn.qkv.weight"
    all_of_it = {**tensors, name: tensors[name].to(torch.float8_e4m3fn)}
    file = written(tmp_path / "fp8.safetensors", all_of_it)
    with pytest.raises(InputError, match="holds quantised weights"):
        open_model(file, supplier=folder)


@pytest.mark.parametrize(
    "mark", ["single_blocks.0.linear1.weight.absmax", "scaled_fp8", "img_in.scale_weight"]
)
def test_quantised_weights_are_refused_by_their_tables(
    mark: str, root: Path, tmp_path: Path
) -> None:
    tensors = {**alone("flux-dev", root), mark: torch.zeros(4)}
    with pytest.raises(InputError, match="holds quantised weights"):
        inspect(written(tmp_path / "m.safetensors", tensors))


@pytest.mark.parametrize(("channels", "what"), [(384, "FLUX.1 Fill"), (128, "for control")])
def test_flux_for_another_task_is_refused(
    channels: int, what: str, root: Path, tmp_path: Path
) -> None:
    tensors = {**alone("flux-dev", root), "img_in.weight": torch.zeros(128, channels)}
    file = written(tmp_path / "m.safetensors", tensors)
    with pytest.raises(InputError, match=what):
        open_model(file, supplier=folder_of("flux-dev", root))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("distilled_guidance_layer.in_proj.weight", "Chroma"),
        ("txt_in.individual_token_refiner.blocks.0.norm1.weight", "HunyuanVideo"),
    ],
)
def test_a_kindred_transformer_is_refused_by_its_name(
    name: str, what: str, root: Path, tmp_path: Path
) -> None:
    tensors = {**alone("flux-dev", root), name: torch.zeros(2, 2)}
    with pytest.raises(InputError, match=f"is a file of {what}"):
        open_model(written(tmp_path / "m.safetensors", tensors))


def test_a_missing_tensor_is_told(root: Path, tmp_path: Path) -> None:
    tensors = dict(alone("flux-dev", root))
    del tensors["single_blocks.1.linear1.bias"]
    file = written(tmp_path / "m.safetensors", tensors)
    with pytest.raises(InputError, match=r"missing model\.diffusion_model\.single_blocks\.1"):
        open_model(file, supplier=folder_of("flux-dev", root))


def test_blocks_of_a_control_net_are_no_model(root: Path, tmp_path: Path) -> None:
    tensors = dict(alone("flux-dev", root))
    del tensors["final_layer.linear.weight"]
    file = written(
        tmp_path / "m.safetensors",
        {**tensors, "controlnet_blocks.0.weight": torch.zeros(2, 2)},
    )
    assert inspect(file).kind == "a ControlNet"


def test_inspect_tells_what_a_file_holds(root: Path, tmp_path: Path) -> None:
    found = inspect(file_of("flux-dev", root, tmp_path / "m.safetensors"))
    assert (found.kind, found.family, found.layout) == ("model", "flux", "compvis")
    assert found.prediction_type == "flow_prediction"
    assert set(found.parts) == {"transformer"}
    [note] = found.notes
    assert "it holds no vae" in note
    whole = inspect(written(tmp_path / "w.safetensors", whole_sd3(folder_of("sd3", root), True)))
    assert set(whole.parts) == {
        "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"
    }  # fmt: skip
    assert whole.notes == ()


def test_fused_matrices_are_read_as_views(root: Path, tmp_path: Path) -> None:
    file = file_of("flux-dev", root, tmp_path / "m.safetensors")
    found: ModelFiles = open_model(file, supplier=folder_of("flux-dev", root))
    tensors = found.read("transformer")
    q, k = (tensors[f"transformer_blocks.0.attn.to_{letter}.weight"] for letter in "qk")
    assert k.data_ptr() - q.data_ptr() == q.numel() * q.element_size()
    mlp = tensors["single_transformer_blocks.0.proj_mlp.weight"]
    v = tensors["single_transformer_blocks.0.attn.to_v.weight"]
    assert mlp.data_ptr() - v.data_ptr() == v.numel() * v.element_size()


PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "sd3_medium": (
        "SD3Transformer2DModel",
        {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536,
         "pos_embed_max_size": 192},
    ),
    "sd3.5_medium": (
        "SD3Transformer2DModel",
        {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536,
         "pos_embed_max_size": 384, "qk_norm": "rms_norm", "dual_attention_layers": range(13)},
    ),
    "sd3.5_large": (
        "SD3Transformer2DModel",
        {"num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432,
         "pos_embed_max_size": 192, "qk_norm": "rms_norm"},
    ),
    "flux1-dev": ("FluxTransformer2DModel", {"guidance_embeds": True}),
    "flux1-schnell": ("FluxTransformer2DModel", {"guidance_embeds": False}),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_are_told_and_account_for_every_tensor(name: str) -> None:
    class_name, says = PUBLISHED[name]
    listed = {
        key: list(value) if isinstance(value, range) else value for key, value in says.items()
    }
    if class_name.startswith("SD3"):
        listed |= {"joint_attention_dim": 4096, "pooled_projection_dim": 2048, "in_channels": 16}
    with torch.device("meta"):
        module = getattr(diffusers, class_name).from_config({**listed, "out_channels": None})
    stored = stored_tensors(
        module.state_dict(),
        to_compvis("mmdit" if class_name.startswith("SD3") else "bfl", module.state_dict()),
    )
    infos = {f"{UNET}{n}": TensorInfo("BF16", tuple(t.shape)) for n, t in stored.items()}
    told = architecture_of_compvis(infos, {}, Path(f"{name}.safetensors"))
    found = account(infos, told)
    assert set(found.places["transformer"]) == set(module.state_dict())
    for key, value in listed.items():
        assert told.denoiser[key] == value, key
