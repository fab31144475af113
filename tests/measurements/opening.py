"""Peak memory and seconds of opening a full-size SD 1.x to train, beside from_single_file.

    python tests/measurements/opening.py [--folder FOLDER] [--model FILE] [--form safetensors,ckpt]

Makes a checkpoint of random weights (4.3 GB in fp32) in FOLDER unless FILE names one. Each way of
opening runs in a process of its own, which is watched from outside: resident memory is what the
process holds itself (anonymous) and what is mapped from the file, whose pages the system takes back
when it needs them. ``esdctl`` ends where training could begin: embeddings made, text encoder
dropped, U-Net and its trainable copy in place. Each ends by reading every value of the U-Net once,
as training will, because a mapped file costs nothing before. The table goes to stdout.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch

from esdctl.storage.provenance import collect

ESDCTL = """
import sys, torch
from pathlib import Path
from esdctl.erasing.esd.student import new_student
from esdctl.erasing.train_methods import select
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import load
from esdctl.models.text import encode_prompts
pipeline = Pipeline("it", Path(sys.argv[1]))
model = load(pipeline, torch.device("cpu"))
encode_prompts(model, ["An image of Rust.", ""])
model.drop("text_encoder")
names = select("xattn", [name for name, _ in model.denoiser.named_parameters()], model.family)
student = new_student(model.denoiser, model.family.denoiser, names, model.denoiser_values)
for parameter in student.network.parameters(): parameter.sum()
"""
DIFFUSERS = """
import sys, torch
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_single_file(
    sys.argv[1], config=sys.argv[2], torch_dtype=torch.float32, local_files_only=True,
    low_cpu_mem_usage=sys.argv[3] == "accelerate")
pipe.unet.requires_grad_(False)
with torch.no_grad(): pipe.encode_prompt("An image of Rust.", "cpu", 1, True)
for parameter in pipe.unet.parameters(): parameter.sum()
"""
IMPORTS = "import torch, diffusers, transformers\nfrom diffusers import UNet2DConditionModel\n"


def main() -> None:
    """Make what is missing, open it in each way, print the table."""
    arguments = _arguments()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    model = arguments.model or _made(arguments.folder / "full-size-sd1.safetensors")
    config = _config_folder(model, arguments.folder / "config")
    rows = [("libraries alone", "", *_watched(IMPORTS, []))]
    for form in arguments.form.split(","):
        path = model if form == "safetensors" else _pickled(model)
        if form == "ckpt":
            rows.append(("esdctl, first time (converts)", form, *_watched(ESDCTL, [path])))
        rows.append(("esdctl", form, *_watched(ESDCTL, [path])))
        for name in ("accelerate", "without accelerate"):
            found = _watched(DIFFUSERS, [path, config, name])
            rows.append((f"from_single_file, {name}", form, *found))
    about = collect(sys.argv)
    print(f"{model.name}, {model.stat().st_size / 1e9:.2f} GB")
    print(f"{about['platform']}; {about['versions']}\n")
    print("| opened by | form | seconds | peak anonymous, GB | peak resident, GB |")
    print("|---|---|---|---|---|")
    for name, form, seconds, anonymous, resident in rows:
        print(f"| {name} | {form} | {seconds:.1f} | {anonymous / 1e9:.2f} | {resident / 1e9:.2f} |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("outputs/opening"))
    parser.add_argument("--model", type=Path, help="a CompVis checkpoint, safetensors")
    parser.add_argument("--form", default="safetensors", help="safetensors, ckpt, or both")
    return parser.parse_args()


def _made(path: Path) -> Path:
    from tests.checkpoints.full_size_file import write_full_size

    if not path.exists():
        print(f"writing {path}", file=sys.stderr)
        write_full_size(path)
    return path


def _config_folder(model: Path, folder: Path) -> Path:
    """The configs and the tokenizer that ``from_single_file`` needs to work offline."""
    from esdctl.checkpoints.changes.export import write_diffusers
    from esdctl.checkpoints.layouts.model_files import open_model

    if not folder.exists():
        files = open_model(model)
        tiny: dict[str, torch.Tensor] = {"unused": torch.zeros(1)}
        parts = dict.fromkeys(files.parts, tiny)
        write_diffusers(folder, parts, files.architecture, files.tokenizers)
        for weights in folder.rglob("*.safetensors"):
            weights.unlink()
    return folder


def _pickled(model: Path) -> Path:
    """The same checkpoint as a pickle; needs its size in memory once."""
    from esdctl.checkpoints.tensor_file import open_tensors

    path = model.with_suffix(".ckpt")
    if not path.exists():
        file = open_tensors(model)
        torch.save({"state_dict": {name: file.read(name).clone() for name in file.infos}}, path)
    return path


def _watched(program: str, arguments: list[Path | str]) -> tuple[float, int, int]:
    """Seconds, and the peaks of anonymous and of all resident memory in bytes (Linux)."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)])
    anonymous = resident = 0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        held = _sizes(status)
        anonymous = max(anonymous, held.get("RssAnon", 0))
        resident = max(resident, held.get("VmHWM", 0))
        time.sleep(0.005)
    if process.returncode:
        raise SystemExit(f"{program} failed")
    return time.perf_counter() - began, anonymous, resident


def _sizes(status: Path) -> dict[str, int]:
    try:
        lines = status.read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    pairs = (line.split(":") for line in lines if line.endswith(" kB"))
    return {key: int(value.split()[0]) * 1024 for key, value in pairs}


if __name__ == "__main__":
    main()
