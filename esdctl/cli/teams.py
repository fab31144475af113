"""Processes that torchrun started together; loads torch only where it did."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from esdctl.cli.terminal import reporting
from esdctl.progress import Reporter, Silent

if TYPE_CHECKING:
    from esdctl.erasing.esd.team import Team

VARIABLES = "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"


@contextmanager
def started_team() -> "Iterator[Team | None]":
    """The team that this process was started in by torchrun; None where it works alone."""
    is_alone = os.environ.get("WORLD_SIZE", "1") == "1"
    if is_alone or any(name not in os.environ for name in VARIABLES):
        yield None
        return
    from esdctl.erasing.esd.team import joined

    with joined(*(int(os.environ[name]) for name in VARIABLES[:3])) as team:
        yield team


def team_reporting(team: "Team | None", quiet: bool) -> AbstractContextManager[Reporter]:
    """A Reporter; of a team the first process alone has one that speaks."""
    return reporting(quiet) if team is None or team.is_first else nullcontext(Silent())


def first_ahead(team: "Team | None") -> AbstractContextManager[None]:
    """A block that the first process of a team goes through before the others."""
    return nullcontext() if team is None else team.first_ahead()
