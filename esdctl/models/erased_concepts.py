"""What was erased from a model, as the metadata of its deltas say."""

from esdctl.checkpoints.changes.apply import open_change
from esdctl.checkpoints.safetensors.metadata import erased_names
from esdctl.models.resolve import Pipeline


def erased_from(pipeline: Pipeline) -> tuple[str, ...]:
    """The names of the concepts, the first that was erased first; none of a base, or if unsaid.

    Raises:
        InputError, IntegrityError: a delta is damaged.
    """
    deltas = [*pipeline.earlier, *([pipeline.delta] if pipeline.delta else [])]
    names = [each.name for delta in deltas for each in erased_names(open_change(delta).about)]
    return tuple(dict.fromkeys(names))
