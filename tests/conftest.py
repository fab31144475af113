"""A Stable Diffusion with random weights, so small that a picture takes milliseconds."""

import gc
import importlib.util
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.warm import Warm, warm_process

# A shell that starts the suite in the background ignores Ctrl-C for it and for all that it starts;
# the tests of Ctrl-C need the usual handling.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The suite leaves the user's own cache alone; every process of a parallel run shares this one.
if "ESDCTL_CACHE_DIR" not in os.environ:
    _CACHE = tempfile.TemporaryDirectory(prefix="esdctl-cache-")
    os.environ["ESDCTL_CACHE_DIR"] = _CACHE.name

# Beside other processes of a parallel run, more than one thread each is slower.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).parents[1]

# Stable Diffusion 1.x's own scheduler_config.json.
SD1_SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "clip_sample": False,
}
SD1_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "feature_extractor": [None, None],
    "safety_checker": [None, None],
    "requires_safety_checker": False,
}


@pytest.fixture(scope="module", autouse=True)
def _what_is_loaded_is_no_garbage() -> None:
    """A search of all objects of torch and the rest takes a quarter of a second.

    The code asks for one whenever it drops a part of a model; so each is of a test's own objects.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips where it is neither installed nor in the folder that BITSANDBYTES_FOLDER names."""
    beside = os.environ.get("BITSANDBYTES_FOLDER")
    if beside is not None:
        monkeypatch.syspath_prepend(beside)
    if importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline folder in the diffusers layout: SD 1.x's structure, 64 px, random weights."""
    import torch

    folder = tmp_path_factory.mktemp("models") / "tiny"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _save_parts(folder)
    (folder / "scheduler").mkdir()
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(SD1_SCHEDULER))
    (folder / "model_index.json").write_text(json.dumps(SD1_INDEX))
    shutil.copytree(REPOSITORY / "esdctl/pocket/weights/tokenizer", folder / "tokenizer")
    return folder


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Starts command lines in processes of their own, without their seconds of imports."""
    with tempfile.TemporaryDirectory(prefix="warm-") as folder, warm_process(Path(folder)) as found:
        yield found


def _save_parts(folder: Path) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    cross = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16, 16, 16),
        layers_per_block=2,
        down_block_types=cross,
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            vocab_size=49_408,
            bos_token_id=49_406,
            eos_token_id=49_407,
            pad_token_id=49_407,
            initializer_factor=50.0,  # so that prompts differ enough to change a picture
        )
    )
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    text_encoder.save_pretrained(folder / "text_encoder")
