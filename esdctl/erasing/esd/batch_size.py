"""``batch_size: auto``: the fastest number of latents a step that fits, by trial steps."""

from collections.abc import Callable
from functools import partial

from esdctl.diffusion.schedule import Schedule
from esdctl.erasing.batches import LARGEST, LEAST_STEPS, largest_batch
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.step import Embeddings, step_loss
from esdctl.erasing.esd.student import Student
from esdctl.erasing.esd.trajectories.exact import draw, exact_pairs
from esdctl.models.batch_size import fastest, fitting_batch
from esdctl.models.memory import gigabytes
from esdctl.models.stopwatch import seconds_of
from esdctl.progress import Reporter

ENOUGH_ON_CPU = 0.1  # seconds of measuring a batch; no kernels are chosen there first
# Of Adam's two moments, beside the gradient, times the selected parameters.
MOMENTS = {"adam": 2.0, "adam8bit": 0.51}


def fastest_batch(
    student: Student,
    schedule: Schedule,
    embeddings: Embeddings,
    config: TrainConfig,
    latent_shape: tuple[int, int, int],
    reporter: Reporter,
) -> int:
    """The fastest of 1, 2, 4, 8, 16 whose step fits and that leaves enough steps.

    It is 1 where memory cannot be measured.

    Args:
        student, schedule, embeddings, config: as in ``train``; nothing is changed.
        latent_shape: of one latent, (4, h, w).
        reporter: told what was measured.

    Raises:
        DeviceError: by the caller's ``memory_errors``, where not even one latent fits.
    """
    trial = _trial(student, schedule, embeddings, config, latent_shape)
    size, gradients = (
        sum(p.numel() * p.element_size() for p in parameters.values())
        for parameters in (student.selected, student.asked)
    )
    # The trial's peak holds the gradients as well.
    moments = round(MOMENTS[config.optimizer] * size)
    largest = largest_batch(config)
    if largest < LARGEST:
        reporter.notice(
            f"batch size: at most {largest}, so that {config.pairs} pairs leave {LEAST_STEPS} steps"
        )
    fit = fitting_batch(student.device, trial, largest, in_trial=gradients, kept=moments)
    if fit is None:
        reporter.notice("batch size: 1 (this system does not tell its memory; see --batch-size)")
        return 1
    sizes = [2**power for power in range(largest.bit_length()) if 2**power <= fit.size]
    enough = ENOUGH_ON_CPU if student.device.type == "cpu" else None
    best = fastest(sizes, lambda count: seconds_of(student.device, partial(trial, count), enough))
    reporter.notice(
        f"batch size: {best} ({fit.size} fit: {gigabytes(fit.a_piece)} a latent, "
        f"{gigabytes(fit.free)} free)"
    )
    return best


def _trial(
    student: Student,
    schedule: Schedule,
    embeddings: Embeddings,
    config: TrainConfig,
    latent_shape: tuple[int, int, int],
) -> Callable[[int], None]:
    """A step of so many latents with all its kinds of passes, without the optimiser's part."""
    two_steps = config.model_copy(update={"ddim_steps": 2})
    retained = len(embeddings.retained or ())

    def work(count: int) -> None:
        draws = (
            draw(config.seed, step, 2, len(embeddings.prompts), retained, (count, *latent_shape))
            for step in range(1000)
        )
        with_trajectory = next(drawn for drawn in draws if drawn.bin == 0)
        pairs = exact_pairs(student, schedule, embeddings, two_steps, with_trajectory)
        loss = step_loss(student, pairs, config.negative_guidance)
        loss.total(config.retain_weight).backward()
        for parameter in student.asked.values():
            parameter.grad = None

    return work
