"""A hub on loopback with every address of the catalogue, and a workspace filled from it."""

import io
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from esdctl.cli.app import run
from tests.hub_server import HubServer

Capture = pytest.CaptureFixture[str]
ROWS = Path(__file__).parents[1] / "data/i2p.csv"
WORKFLOW = (
    ("download", "compvis"),
    ("download", "diffuser"),
    ("dataset", "fetch", "unlearn-canvas", "--sample"),
    ("dataset", "fetch", "i2p", "--sample"),
)
FOLDERS = [
    "models/compvis",
    "models/diffuser",
    "data/quick-canvas-dataset/sample",
    "data/i2p-dataset/sample",
]
UNET = "models/diffuser/style50/unet/diffusion_pytorch_model.safetensors"


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def picture(color: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (32, 32), color).save(content, "JPEG")
    return content.getvalue()


def weights(seed: int) -> bytes:
    values = np.random.default_rng(seed).standard_normal(20_000).astype(np.float32)
    return save({"a.weight": values, "b.weight": values[:10]})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The hub with every address of the catalogue."""
    style50 = {"unet/diffusion_pytorch_model": 1, "vae/diffusion_pytorch_model": 2}
    diffuser = {f"style50/{name}.safetensors": weights(n) for name, n in style50.items()}
    canvas = {f"sample/Abstractionism/Architectures/{n}.jpg": picture("red") for n in range(1, 21)}
    i2p = {
        "sample/prompts/i2p.csv": ROWS.read_bytes(),
        "sample/images/self-harm/1.jpg": picture("red"),
    }
    models = {
        "compvis.zip": zipped({"style50/compvis.ckpt": random.Random(3).randbytes(300_000)}),
        "diffuser.zip": zipped({**diffuser, "style50/model_index.json": b"{}"}),
    }
    with HubServer(page_size=5) as server:
        server.commit("models/nebulaanish/unlearn_models", dict(models))
        server.commit(
            "datasets/dipeshlav/sample-quick-unlearn-canvas",
            {"sample-quick-unlearn-canvas.zip": zipped(canvas, zipfile.ZIP_STORED)},
        )
        server.commit("datasets/dipeshlav/sample_i2p_dataset", {"sample.zip": zipped(i2p)})
        server.commit(
            "datasets/nebulaanish/i2p-dataset",
            {name.removeprefix("sample/"): data for name, data in i2p.items()},
        )
        pipeline = {name.removeprefix("style50/"): data for name, data in diffuser.items()}
        pipeline |= {"model_index.json": b"{}", "unet/config.json": b"{}", "v1.ckpt": b"x" * 9}
        pipeline["unet/diffusion_pytorch_model.fp16.safetensors"] = weights(9)
        server.commit("models/runwayml/sd", dict(pipeline))
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        for variable in ("HF_TOKEN", "HF_HUB_OFFLINE", "ESDCTL_ROOT"):
            monkeypatch.delenv(variable, raising=False)
        yield server


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def filled(root: Path, hub: HubServer, capsys: Capture) -> Path:
    """A workspace after the whole workflow."""
    for command in WORKFLOW:
        assert run(command) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.splitlines() == FOLDERS
    hub.requests.clear()
    return root
