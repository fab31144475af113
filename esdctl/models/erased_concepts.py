"""What was erased from a model, as the metadata of its deltas say."""

import json

from esdctl.checkpoints.changes.apply import open_change
from esdctl.checkpoints.safetensors.metadata import erased_names
from esdctl.datasets.unlearn_canvas import find
from esdctl.models.resolve import Pipeline


def erased_from(pipeline: Pipeline) -> tuple[str, ...]:
    """The names of the concepts, the first that was erased first; none of a base, or if unsaid.

    Raises:
        InputError, IntegrityError: a delta is damaged.
    """
    deltas = [*pipeline.earlier, *([pipeline.delta] if pipeline.delta else [])]
    names = [each.name for delta in deltas for each in erased_names(open_change(delta).about)]
    return tuple(dict.fromkeys(names))


def retained_names(pipeline: Pipeline) -> tuple[str, ...] | None:
    """What the last erasure was told to keep, in the known spelling; None for all, or if unsaid.

    Raises:
        InputError, IntegrityError: the delta is damaged.
    """
    if pipeline.delta is None:
        return None
    try:
        settings = json.loads(open_change(pipeline.delta).about.get("settings", "{}"))
        names = settings["retain"]
        if settings["retain_all"] or not names:
            return None
        return tuple(known.name if (known := find(str(name))) else str(name) for name in names)
    except (ValueError, RecursionError, TypeError, KeyError):
        return None
