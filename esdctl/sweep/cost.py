"""What a sweep will take, from one measured step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from esdctl.erasing.plan import ErasePlan
from esdctl.erasing.train_methods import select
from esdctl.evaluation.plan import plan_evaluation
from esdctl.evaluation.request import Request
from esdctl.models.devices import find_device
from esdctl.progress import Reporter
from esdctl.sampling.plan import parse_seeds
from esdctl.storage.workspace import Workspace
from esdctl.sweep.manifest import Job
from esdctl.timing.estimate import estimate_evaluation, estimate_training

FP32 = 4  # bytes of a value in a delta
ROW = 400  # bytes of a judged picture


@dataclass(frozen=True)
class SweepCost:
    """The estimate of a sweep.

    Args:
        jobs: how many.
        workers: at once.
        seconds_a_job: training and evaluation of the first job; attacks are not in it.
        base_seconds: judging the base, once.
        bytes_a_job: of a delta, its checkpoint and its rows.
        price_an_hour: of a worker; None where none was named.
        parts: how a job's seconds are made up.
    """

    jobs: int
    workers: int
    seconds_a_job: float
    base_seconds: float
    bytes_a_job: int
    price_an_hour: float | None
    parts: dict[str, float]

    @property
    def worker_seconds(self) -> float:
        """Of all workers together."""
        return self.base_seconds + self.jobs * self.seconds_a_job

    @property
    def seconds(self) -> float:
        """From beginning to end; the last round may leave workers idle."""
        rounds = -(-self.jobs // self.workers)
        return self.base_seconds + rounds * self.seconds_a_job

    @property
    def price(self) -> float | None:
        """Of all workers' hours."""
        if self.price_an_hour is None:
            return None
        return self.price_an_hour * self.worker_seconds / 3600

    def document(self) -> dict[str, object]:
        """As a JSON document."""
        return {
            "jobs": self.jobs,
            "workers": self.workers,
            "seconds": round(self.seconds, 1),
            "worker_hours": round(self.worker_seconds / 3600, 3),
            "seconds_a_job": round(self.seconds_a_job, 2),
            "parts": {name: round(seconds, 2) for name, seconds in self.parts.items()},
            "bytes": self.jobs * self.bytes_a_job,
            "price": None if self.price is None else round(self.price, 2),
        }


def estimate_sweep(
    plan: ErasePlan,
    jobs: Sequence[Job],
    workers: int,
    device: str | None,
    price_an_hour: float | None,
    began: float,
    workspace: Workspace,
    reporter: Reporter,
) -> SweepCost:
    """Measure a step of the first job and a batch of its pictures, and count the others alike.

    Args:
        plan: the first job's erasure.
        jobs: all of them.
        workers: at once.
        device: where pictures are sampled.
        price_an_hour: of a worker.
        began: when the command started, by ``time.perf_counter``.
        workspace: where rows that are there already are found.
        reporter: told what is measured.

    Raises:
        DeviceError: the device is not there, or its memory does not suffice.
    """
    training = estimate_training(plan, began, reporter)
    parts = {"training": training.parts["training"]}
    first, pictures, base = jobs[0], 0, 0.0
    if first.evaluate is not None:
        asked = first.evaluate
        seeds = None if asked.seeds is None else parse_seeds(asked.seeds)
        request = Request((plan.concept.name,), seeds, protocol=asked.protocol)
        evaluation = plan_evaluation(plan.pipeline, request, workspace.models)
        nowhere = workspace.outputs / "evaluations" / "none"
        judged = estimate_evaluation(evaluation, nowhere, "auto", find_device(device), began)
        pictures = len(evaluation.cases)
        base = judged.parts["sampling"] + judged.parts["judging"]
        parts["evaluation"] = base
    files = plan.pipeline.files
    shapes = files.denoiser_shapes()
    chosen = select(plan.config.train_method, shapes, files.architecture.family)
    values = sum(math.prod(shapes[name]) for name in chosen)
    size = values * FP32 + pictures * ROW
    return SweepCost(len(jobs), workers, sum(parts.values()), base, size, price_an_hour, parts)
