"""Opens a full-size SD 1.x checkpoint of random weights to train on it: esdctl beside diffusers.

    python tests/benchmarks/open_checkpoint.py [--work FOLDER] [--rounds 2] [--dtype fp32]

Each contestant runs in a process of its own, one after the other, and ends with what a training
needs: the prompts' embeddings and the U-Net in fp32. ``esdctl`` drops its text encoder and never
loads the VAE; ``from_single_file`` loads all three parts. The table goes to stdout: seconds in the
process after its imports, peak resident memory less that of the imports, and that over the size of
the parts used (text encoder and U-Net in fp32).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

REPOSITORY = str(Path(__file__).parents[2])
sys.path.insert(0, REPOSITORY)

PARTS_USED = 4 * (859_520_964 + 123_060_480)  # bytes of U-Net and text encoder in fp32
BEGINNING = """
import json, resource, sys, time
import torch, diffusers, transformers
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer
from pathlib import Path
import esdctl.models.stable_diffusion, esdctl.models.text, esdctl.esd.student
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
path, config = sys.argv[1:3]
before, began = peak(), time.perf_counter()
"""
END = """
print(json.dumps({"seconds": time.perf_counter() - began, "bytes": peak() - before}))
"""
ESDCTL = """
from esdctl.esd.student import new_student
from esdctl.esd.train_methods import select
from esdctl.models.resolve import resolve_model
from esdctl.models.stable_diffusion import load
from esdctl.models.text import encode_prompts
from esdctl.storage.workspace import find_workspace
model = load(resolve_model(path, find_workspace(Path("."))), torch.device("cpu"))
embeddings = encode_prompts(model, ["An image of Dogs.", ""])
model.drop("text_encoder")
unet = model.unet
student = new_student(unet, select("xattn", [n for n, _ in unet.named_parameters()]))
"""
DIFFUSERS = """
pipeline = StableDiffusionPipeline.from_single_file(path, config=config, local_files_only=True,
    torch_dtype=torch.float32, safety_checker=None)
tokens = pipeline.tokenizer(["An image of Dogs.", ""], padding="max_length", return_tensors="pt")
with torch.no_grad():
    embeddings = pipeline.text_encoder(tokens.input_ids).last_hidden_state
unet = pipeline.unet
"""


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        folder = Path(work)
        for suffix in (".safetensors", ".ckpt"):
            path = folder / f"full{suffix}"
            _in_a_process(_make, path, arguments.dtype)
            print(f"\n{path.name}, {arguments.dtype}, {path.stat().st_size / 2**30:.2f} GiB\n")
            print(f"{'':44}{'s':>7}{'peak, GiB':>11}{'peak / parts used':>19}")
            for name, code in (
                ("esdctl, first time", ESDCTL),
                ("esdctl, again", ESDCTL),
                ("StableDiffusionPipeline.from_single_file", DIFFUSERS),
            ):
                _measure(name, code, path, folder / "config", arguments.rounds)
            path.unlink()


def _measure(name: str, code: str, path: Path, config: Path, rounds: int) -> None:
    """Print the best of the rounds; what is done for the first time is done once."""
    found = [_run(code, path, config) for _ in range(1 if "first" in name else rounds)]
    best = min(found, key=lambda one: one["seconds"])
    print(
        f"{name:44}{best['seconds']:7.1f}{best['bytes'] / 2**30:11.2f}"
        f"{best['bytes'] / PARTS_USED:19.2f}",
        flush=True,
    )


def _run(code: str, path: Path, config: Path) -> dict[str, float]:
    environment = os.environ | {
        "PYTHONPATH": REPOSITORY, "HF_HUB_OFFLINE": "1",
        "ESDCTL_CACHE_DIR": str(path.parent / "cache"),
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-c", BEGINNING + code + END, str(path), str(config)],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


def _in_a_process(make: Callable[[Path, str], None], path: Path, dtype: str) -> None:
    """Make the file elsewhere: what that takes is not ours to keep."""
    subprocess.run([sys.executable, __file__, "--make", str(path), "--dtype", dtype], check=True)


def _make(path: Path, dtype: str) -> None:
    """The checkpoint, and beside it the configs and tokenizer that ``from_single_file`` needs."""
    import torch

    from esdctl.checkpoints.export import write_diffusers
    from esdctl.checkpoints.model_files import open_model
    from tests.checkpoints.full_size import write_full_size

    types = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    write_full_size("sd1", path, types[dtype])
    config = path.parent / "config"
    if not config.exists():
        files = open_model(path)
        parts = {"unet": {}, "vae": {}, "text_encoder": {}}
        write_diffusers(config, parts, files.architecture, files.tokenizers)  # type: ignore[arg-type]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--work", help="folder for the checkpoints; needs 14 GB")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "fp16", "bf16"])
    parser.add_argument("--make", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        _make(Path(arguments.make), arguments.dtype)
        sys.exit()
    return arguments


if __name__ == "__main__":
    main()
