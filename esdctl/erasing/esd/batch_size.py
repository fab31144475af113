"""``batch_size: auto``: as many latents a step as the free memory holds, from one trial step."""

from collections.abc import Callable

from esdctl.diffusion.schedule import Schedule
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.step import Embeddings, step_loss
from esdctl.erasing.esd.student import Student
from esdctl.erasing.esd.trajectories.exact import draw, exact_pairs
from esdctl.models.batch_size import fitting_batch
from esdctl.models.memory import gigabytes
from esdctl.progress import Reporter

LARGEST = 8  # a larger batch averages noise that the next step averages anyway
MOMENTS = 2  # of Adam, beside the gradient, as large as the selected parameters each


def fitting_latents(
    student: Student,
    schedule: Schedule,
    embeddings: Embeddings,
    config: TrainConfig,
    latent_shape: tuple[int, int, int],
    reporter: Reporter,
) -> int:
    """The largest of 1, 2, 4, 8 whose step fits; 1 where memory cannot be measured.

    Args:
        student, schedule, embeddings, config: as in ``train``; nothing is changed.
        latent_shape: of one latent, (4, h, w).
        reporter: told what was measured.

    Raises:
        DeviceError: by the caller's ``memory_errors``, where not even one latent fits.
    """
    trial = _trial(student, schedule, embeddings, config, latent_shape)
    size = sum(p.numel() * p.element_size() for p in student.selected.values())
    # The trial's peak holds the gradient as well.
    fit = fitting_batch(student.device, trial, LARGEST, in_trial=size, kept=(1 + MOMENTS) * size)
    if fit is None:
        reporter.notice("batch size: 1 (this system does not tell its memory; see --batch-size)")
        return 1
    reporter.notice(
        f"batch size: {fit.size} ({gigabytes(fit.a_piece)} a latent, {gigabytes(fit.free)} free)"
    )
    return fit.size


def _trial(
    student: Student,
    schedule: Schedule,
    embeddings: Embeddings,
    config: TrainConfig,
    latent_shape: tuple[int, int, int],
) -> Callable[[], None]:
    """A step of one latent with all its kinds of passes, without the optimiser's part."""
    two_steps = config.model_copy(update={"ddim_steps": 2})
    retained = len(embeddings.retained or ())
    draws = (
        draw(config.seed, step, 2, len(embeddings.prompts), retained, (1, *latent_shape))
        for step in range(1000)
    )
    with_trajectory = next(drawn for drawn in draws if drawn.bin == 0)

    def work() -> None:
        pairs = exact_pairs(student, schedule, embeddings, two_steps, with_trajectory)
        loss = step_loss(student, pairs, config.negative_guidance)
        loss.total(config.retain_weight).backward()
        for parameter in student.selected.values():
            parameter.grad = None

    return work
