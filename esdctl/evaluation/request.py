"""What the user asks an evaluation for, and how that differs from its protocol."""

from dataclasses import dataclass
from pathlib import Path

from esdctl.evaluation.protocols.protocol import Protocol
from esdctl.sampling.schedulers import Scheduler


@dataclass(frozen=True)
class Request:
    """What the user asks for; None leaves it to the protocol.

    Args:
        concepts: the targets; else those that the model's metadata names.
        seeds: each prompt is sampled once with each of them.
        steps: of the scheduler.
        guidance: the guidance scale.
        styles, objects: restrict the grid to these.
        scheduler: what solves the equation from noise to picture.
        protocol: its name or file; None takes the one that suits the judge.
        judges: who judge, by name.
        prompts: a file of prompts, in place of the protocol's rows.
        first: so many rows at most.
        keeps_layout: in the benchmark's layout, as JPEG, which is then what is judged.
    """

    concepts: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None
    steps: int | None = None
    guidance: float | None = None
    styles: tuple[str, ...] | None = None
    objects: tuple[str, ...] | None = None
    scheduler: Scheduler | None = None
    protocol: str | None = None
    judges: tuple[str, ...] = ()
    prompts: Path | None = None
    first: int | None = None
    keeps_layout: bool = False


def changes_of(protocol: Protocol, request: Request) -> dict[str, str]:
    """What the user asks for otherwise than the protocol, as a figure's reader has to know."""
    asked = protocol.grid or protocol.rows
    usual: dict[str, object] = {
        "seeds": asked.seeds if asked else None,
        "steps": protocol.sampling.steps,
        "guidance": protocol.sampling.guidance,
        "scheduler": protocol.sampling.scheduler,
        "styles": protocol.grid.styles if protocol.grid else None,
        "objects": protocol.grid.objects if protocol.grid else None,
        "first": protocol.rows.first if protocol.rows else None,
        "judges": protocol.judges,
    }
    changes = {}
    for key, value in usual.items():
        wanted = getattr(request, key)
        if wanted not in (None, (), value):
            changes[key] = ",".join(map(str, wanted)) if isinstance(wanted, tuple) else str(wanted)
    if request.keeps_layout and protocol.sampling.stored != "jpeg":
        changes["stored"] = "jpeg"
    return changes
