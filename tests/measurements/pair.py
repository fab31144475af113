"""Wall time of one training pair: ours beside a plain implementation on StableDiffusionPipeline.

    python tests/measurements/pair.py [--rounds 5] [--seconds 20] [--work FOLDER]

Both train ESD-x on the pocket model in one process and take turns: so many pairs of theirs, then so
many of ours, ``--rounds`` times. Ours are of each trajectory, under the pocket preset; a pair is a
row that the student is trained on, whatever it took to make it, whole pools included. What the
preset retains, which the plain implementation does not know, is left out, and measured once more
beside. The plain one's random steps are drawn evenly, so that a round has the usual share of each.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from esdctl.erasing.esd.prepare import prepare
from esdctl.erasing.esd.step import step_loss
from esdctl.erasing.esd.trajectories.trajectory import open_trajectory
from esdctl.erasing.plan import plan_erase
from esdctl.erasing.request import EraseRequest
from esdctl.models.named import POCKET
from esdctl.models.precision import find_dtype
from esdctl.models.stable_diffusion import load
from esdctl.progress import Silent
from esdctl.storage.workspace import Workspace
from tests.measurements.plain_esd import PlainEsd
from tests.measurements.results import Document, kept, show, table

CPU = torch.device("cpu")
KINDS: dict[str, Mapping[str, object]] = {
    "exact, batch 1, 50 steps": {"trajectory": "exact", "batch_size": 1, "ddim_steps": 50},
    "exact": {"trajectory": "exact"},
    "frozen": {"trajectory": "frozen"},
    "rolling": {"trajectory": "rolling"},
    "the preset": {},
}
PLAIN = "diffusers, plain"
LEAST_STEPS = 25


@dataclass
class Runner:
    """Makes and trains on the pairs of one step after the other.

    Args:
        step: does it, given its number.
        pairs: of a step.
        together: steps that share one pool.
    """

    step: Callable[[int], float]
    pairs: int
    together: int
    done: int = 0

    def seconds_a_pair(self, at_least: float) -> float:
        """So many seconds and 25 steps at least, in whole pools; the first pool warms up."""
        if self.done == 0:
            self._run()
        first, seconds = self.done, 0.0
        while seconds < at_least or self.done - first < LEAST_STEPS:
            seconds += self._run()
        return seconds / ((self.done - first) * self.pairs)

    def _run(self) -> float:
        began = time.perf_counter()
        for _ in range(self.together):
            self.step(self.done)
            self.done += 1
        return time.perf_counter() - began


def main() -> None:
    """Measure what is missing, then print the table."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    work: Path = arguments.work
    runners: dict[str, Runner] = {}
    measured: dict[str, list[float]] = {}
    for index in range(arguments.rounds):

        def one_round() -> Document:
            runners.update(runners or _runners())
            return {
                name: runner.seconds_a_pair(arguments.seconds) for name, runner in runners.items()
            }

        for name, seconds in kept(work / f"round-{index}.json", one_round).items():
            measured.setdefault(name, []).append(seconds)
    plain = measured[PLAIN]
    rows: list[tuple[object, ...]] = []
    for name, seconds in measured.items():
        ratios = [theirs / ours for theirs, ours in zip(plain, seconds, strict=True)]
        low, high = min(ratios), max(ratios)
        rows.append(
            (name, statistics.median(seconds), statistics.median(ratios), f"{low:.2f}-{high:.2f}")
        )
    columns = ("", "s a pair, median", "times faster, median", "of the rounds")
    show(table(columns, rows), work / "pair.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20, help="of each in each round, at least")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--work", type=Path, default=Path("outputs/pair"))
    return parser.parse_args()


def _runners() -> dict[str, Runner]:
    plain = PlainEsd(POCKET, "An image of Mosaic.")
    runners = {PLAIN: Runner(plain.step, 1, 1)}
    for name, settings in KINDS.items():
        runners[name] = _ours({**settings, "retain_all": False, "warm_start": False})
    runners["the preset, retaining"] = _ours({})
    return runners


def _ours(settings: Mapping[str, object]) -> Runner:
    chosen = {"model": "pocket", "concept": "Mosaic", "train_method": "xattn", **settings}
    plan = plan_erase(EraseRequest(chosen, preset="pocket"), Workspace(Path()))
    config = plan.config
    model = load(plan.pipeline, CPU, find_dtype(config.dtype, CPU))
    ready = prepare(model, plan.pipeline, plan.concept, config)
    student = ready.student
    assert config.batch_size != "auto"
    shape = (config.batch_size, *ready.latent)
    trajectory = open_trajectory(student, model.schedule, ready.embeddings, config, shape, Silent())
    optimizer = torch.optim.Adam(student.selected.values(), lr=5e-5, fused=True)

    def step(number: int) -> float:
        pairs = trajectory.pairs(number)
        loss = step_loss(student, pairs, config.negative_guidance)
        pairs.follow(loss.prediction)
        optimizer.zero_grad(set_to_none=True)
        total = loss.total(config.retain_weight)
        total.backward()
        optimizer.step()
        return total.item()

    pool = config.pool_size * config.ddim_steps * config.pool_uses // config.batch_size
    return Runner(step, config.batch_size, pool if config.trajectory == "frozen" else 1)


if __name__ == "__main__":
    main()
