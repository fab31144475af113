"""Memory of a training step of full-size transformers, counted on a pretended GPU.

    python tests/measurements/flow_rehearsal.py [--models "FLUX.1 dev"] [--methods text-kv]
        [--forms bf16,int8,nf4,offload] [--work FOLDER]

Beside what ``flow_memory.py`` calculates: the product's own loading and some steps of ``rolling``
run at full size, with gradient checkpointing, on a CUDA device that tests/rehearsal makes believe.
No value is computed, and there are no text encoders. It knows the latents of SD 3.5 and FLUX.1;
int8 and nf4 need bitsandbytes.
"""

import argparse
import json
import subprocess
import sys
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tests.rehearsal.device.build import build
from tests.rehearsal.device.runtime import environment, import_bitsandbytes, install

if TYPE_CHECKING:
    import torch

    from esdctl.diffusion.schedule import Schedule
    from esdctl.erasing.esd.step import Embeddings
    from esdctl.erasing.esd.student import Student
    from tests.measurements.flow_memory import Model

COUNTED = 2  # the step
SIDE = 128  # of the latents
COLUMNS = (
    "opened, GB", "peak, GB", "kept between steps, GB", "on the host, GB", "copied, GB",
)  # fmt: skip


def main() -> None:
    """Measure what is missing, then print the table."""
    arguments = _arguments()
    if arguments.case is not None:
        install(arguments.library)
        import_bitsandbytes()
        print(json.dumps(_counted(**json.loads(arguments.case))))
        return
    from tests.measurements.results import kept, show, table

    rows: list[tuple[object, ...]] = []
    with TemporaryDirectory() as folder:
        library = build(Path(folder))
        names = (arguments.models.split(","), arguments.methods.split(","))
        for model, method, form in product(*names, arguments.forms.split(",")):
            case = {"title": model, "method": method, "form": form}
            path = arguments.work / f"{'-'.join(case.values()).replace(' ', '_')}.json"
            found = kept(path, partial(_in_a_process, library, case))
            rows.append((*case.values(), *map(found.get, COLUMNS)))
    show(table(("model", "method", "form", *COLUMNS), rows), arguments.work / "flow_rehearsal.md")


class _Enough(Exception):
    """Ends a training whose step is counted."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", default="FLUX.1 dev", help="titles, with commas")
    parser.add_argument("--methods", default="text-kv", help="names, with commas")
    parser.add_argument("--forms", default="bf16,int8,nf4,offload", help="with commas")
    parser.add_argument("--work", type=Path, default=Path("outputs/flow_rehearsal"))
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--library", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_a_process(library: Path, case: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.measurements.flow_rehearsal"]
    done = subprocess.run(
        [*command, "--library", str(library), "--case", json.dumps(case)],
        env=environment(REHEARSAL_META="1", REHEARSAL_GB="1000"),
        stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _counted(title: str, method: str, form: str) -> dict[str, Any]:
    """The counts of one step, where the device's hooks are installed."""
    import torch

    from esdctl.diffusion.conditioning import Conditioning
    from esdctl.erasing.esd.step import Embeddings
    from esdctl.erasing.esd.student import new_student
    from tests.measurements.flow_memory import models
    from tests.rehearsal.device.memory import MEMORY

    model = next(each for each in models() if each.title == title)
    network, names, on_host = _opened(model, method, form)
    opened = MEMORY.now[0]
    network.enable_gradient_checkpointing()  # type: ignore[operator]
    student = new_student(network, model.family.denoiser, names, None, torch.bfloat16)
    told = Conditioning(
        torch.zeros(1, model.tokens - 4096, model.config.get("joint_attention_dim", 4096)),
        torch.zeros(1, model.config.get("pooled_projection_dim", 768)),
        guidance=torch.full((1,), 3.5) if model.config.get("guidance_embeds") else None,
    )
    schedule = model.family.process.schedule(model.family.process.scheduler, (SIDE, SIDE))
    last = _last_step(student, schedule, Embeddings(told, None, None, told), method)
    return {
        "opened, GB": opened / 1e9,
        "peak, GB": last["peak"] / 1e9,
        "kept between steps, GB": last["now"] / 1e9,
        "on the host, GB": sum(on_host) / 1e9,
        "copied, GB": last["copied"] / 1e9,
    }


def _opened(
    model: "Model", method: str, form: str
) -> "tuple[torch.nn.Module, list[str], list[int]]":
    """A network as the product opens it, the parameters that move, and bytes that stay behind."""
    import torch

    from esdctl.erasing.train_methods import select
    from esdctl.models.frozen_layers import FrozenStorage
    from esdctl.models.parts import load_part
    from esdctl.models.pinned import PinnedMemory

    on_host: list[int] = []

    def as_it_is(self: PinnedMemory, tensor: torch.Tensor) -> torch.Tensor:
        on_host.append(tensor.nbytes)
        return tensor  # a copy would take the memory that the whole model takes

    PinnedMemory.copy = as_it_is  # type: ignore[method-assign]
    with torch.device("meta"):
        every = model.kind(**model.config).state_dict()
    zero = torch.zeros((), dtype=torch.bfloat16)
    tensors = {name: zero.expand(value.shape) for name, value in every.items()}
    names = select(method, every, model.family)
    kind = form if form in ("int8", "nf4") else None
    storage = FrozenStorage(frozenset(names), kind, form == "offload")  # type: ignore[arg-type]
    network = load_part(
        model.family.denoiser.part,
        SimpleNamespace(family=model.family, config=lambda part: model.config),  # type: ignore[arg-type]
        tensors, torch.device("cuda", 0), torch.bfloat16, model.title,
        None if form == "bf16" else storage,
    )  # fmt: skip
    return network, names, on_host


def _last_step(
    student: "Student", schedule: "Schedule", embeddings: "Embeddings", method: str
) -> dict[str, Any]:
    """What was counted in the step that is looked at."""
    from esdctl.erasing.config import TrainConfig
    from esdctl.erasing.esd.loop import Training, train
    from esdctl.erasing.trackers import open_tracker
    from esdctl.progress import Silent
    from tests.rehearsal.device.counts import COUNTS
    from tests.rehearsal.device.memory import MEMORY

    config = TrainConfig(
        concept="Rust", train_method=method, trajectory="rolling", batch_size=1, pool_size=1,
        iterations=COUNTED + 1, save_every=1000, save_minutes=1000, gradient_checkpointing=True,
        start_guidance=1.0,
    )  # fmt: skip
    seen: list[dict[str, Any]] = []

    class Watch(Silent):
        def advanced(self, task: str, done: int, details: str = "") -> None:
            seen.append({**COUNTS.document(), "now": MEMORY.now[0], "peak": MEMORY.peak[0]})
            COUNTS.reset()
            if len(seen) == COUNTED:
                raise _Enough

    with TemporaryDirectory() as name, suppress(_Enough):
        folder = Path(name)
        train(Training(
            student, schedule, embeddings, config, (1, 16, SIDE, SIDE), folder,
            folder / "log.jsonl", open_tracker(config, folder, Silent()), Watch(), lambda: False,
        ))  # fmt: skip
    return seen[-1]


if __name__ == "__main__":
    main()
