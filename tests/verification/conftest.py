"""A workspace as downloads leave it: folders with their manifests, made by code."""

import json
import shutil
import struct
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file
from safetensors.torch import load_file
from safetensors.torch import save_file as save_torch

from esdctl.catalog.artifacts import load_catalog
from esdctl.cli.app import run
from esdctl.storage.manifest import FileEntry, Manifest, write_manifest
from esdctl.storage.workspace import Workspace

REAL_ROWS = Path(__file__).parents[1] / "data/i2p.csv"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A pipeline folder and the I2P sample, both published."""
    pipeline = tmp_path / "models/diffuser"
    (pipeline / "style50/unet").mkdir(parents=True)
    (pipeline / "style50/model_index.json").write_text("{}")
    weights = {"a.weight": np.arange(6, dtype=np.float32), "b.weight": np.zeros(2, np.float32)}
    save_file(weights, pipeline / "style50/unet/diffusion_pytorch_model.safetensors")
    publish(pipeline, "diffuser")
    i2p = tmp_path / "data/i2p-dataset/sample"
    (i2p / "images/self-harm").mkdir(parents=True)
    (i2p / "prompts").mkdir()
    (i2p / "prompts/i2p.csv").write_bytes(REAL_ROWS.read_bytes())
    Image.new("RGB", (32, 32), "red").save(i2p / "images/self-harm/1.jpg")
    publish(i2p, "i2p")
    return Workspace(tmp_path)


RUN = "outputs/runs/one"  # of the workspace ``trained``


@pytest.fixture(scope="session")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run of two steps, its export, and two pictures of it."""
    root = tmp_path_factory.mktemp("verified")
    train = [
        "train", "--model", str(tiny_model), "--concept", "Mosaic", "--preset", "reference",
        "--train-method", "xattn", "--ddim-steps", "2", "--iterations", "2", "--lr", "1e-3",
        "--device", "cpu", "--no-contact-sheet", "--quiet", "--output", str(root / RUN),
    ]  # fmt: skip
    assert run(train) == 0
    name = str(root / RUN)
    assert run(["export", name, "--to", "diffusers", "-o", str(root / "exported")]) == 0
    sample = ["sample", "--model", name, "--prompt", "a", "--seeds", "1,2", "--steps", "2", "-q"]
    assert run([*sample, "--root", str(root), "-o", str(root / "outputs/samples/s")]) == 0
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    """A copy of the workspace ``trained`` for one test."""
    shutil.copytree(trained, tmp_path / "w")
    return tmp_path / "w"


def verdicts(
    root: Path, name: str, capsys: pytest.CaptureFixture[str], *more: str
) -> tuple[int, dict[str, bool | None], dict[str, str]]:
    """``verify --json``: the exit status, each check's verdict, and what each measured."""
    capsys.readouterr()
    status = run(["verify", str(root / name), "--root", str(root), "--json", "--quiet", *more])
    (report,) = json.loads(capsys.readouterr().out)
    checks = report["checks"]
    return (
        status,
        {check["name"]: check["passed"] for check in checks},
        {check["name"]: check["measured"] for check in checks},
    )


def rewrite(path: Path, change: dict[str, torch.Tensor]) -> None:
    """Other values of some tensors, the metadata as it was."""
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    save_torch({**load_file(path), **change}, path, about)


def publish(folder: Path, name: str, source: str = "https://hub.test") -> None:
    """Write the manifest of what lies in the folder now."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    entries = tuple(
        FileEntry(
            path.relative_to(folder).as_posix(),
            path.stat().st_size,
            sha256(path.read_bytes()).hexdigest(),
        )
        for path in files
    )
    write_manifest(folder, Manifest(name, source, "4f3e", entries))


def files_of(workspace: Workspace) -> Mapping[str, Path]:
    """Every file of the catalogue's folders in the workspace, manifests included."""
    folders = [workspace.root / artifact.folder for artifact in load_catalog(None).artifacts]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(workspace.root).as_posix(): path for path in files}


def flip(path: Path, place: int) -> None:
    """Flip one bit of a file's byte."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


def write_safetensors(path: Path, header: str, data: bytes) -> None:
    """A safetensors file with any header."""
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + data)


def tensor_entry(start: int, end: int) -> str:
    return json.dumps({"dtype": "U8", "shape": [end - start], "data_offsets": [start, end]})
