"""How an estimate is told to people: time and memory on one line."""

from typing import TYPE_CHECKING

from esdctl.progress import Reporter

if TYPE_CHECKING:
    from esdctl.timing.estimate import Estimate


def tell_estimate(estimate: "Estimate", reporter: Reporter) -> None:
    """Say it on stderr."""
    minutes, seconds = divmod(round(estimate.seconds), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    memory = estimate.peak_memory_bytes / 1e9
    reporter.notice(f"estimate: {clock}, at most {memory:.2f} GB of memory on {estimate.device}")
