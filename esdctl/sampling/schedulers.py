"""What solves the equation from noise to picture, by name, and how many steps each can take."""

from typing import Literal, get_args

from esdctl.settings.choice import one_of

MAX_STEPS = 1000  # the noise schedule has no more timesteps
MAX_MULTISTEP = 500  # steps of the other schedulers, whose timesteps must lie apart
Scheduler = Literal["ddim", "dpmsolver++", "unipc"]
DDIM: Scheduler = "ddim"  # the benchmark's


def parse_scheduler(text: str) -> Scheduler:
    """Read a scheduler's name, in any case.

    Raises:
        UsageError: there is no such scheduler; says which there are.
    """
    known: tuple[Scheduler, ...] = get_args(Scheduler)
    return one_of("--scheduler", text, known)


def most_steps(scheduler: Scheduler) -> int:
    """How many steps a scheduler can take."""
    return MAX_STEPS if scheduler == DDIM else MAX_MULTISTEP
