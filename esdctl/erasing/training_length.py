"""How long a training is: in pairs, or in steps of a batch each. Loads no torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from esdctl.erasing.config import TrainConfig
from esdctl.errors import UsageError
from esdctl.settings.resolve import Layer, Resolved

PAIRS, STEPS = "pairs", "iterations"


def steps_of(config: TrainConfig, batch_size: int) -> int:
    """The optimiser steps of a whole training.

    Args:
        config: names them, or the pairs.
        batch_size: pairs a step.
    """
    if config.iterations is not None:
        return config.iterations
    assert config.pairs is not None  # one of the two always is
    return math.ceil(config.pairs / batch_size)


def pairs_of(config: TrainConfig) -> int:
    """The pairs of a whole training; of a batch that is not known yet, one a step."""
    if config.pairs is not None:
        return config.pairs
    batch_size = config.batch_size if isinstance(config.batch_size, int) else 1
    return (config.iterations or 0) * batch_size


def with_one_length(layers: Sequence[Layer]) -> list[Layer]:
    """The layers with that length alone which the strongest of them names.

    Pairs and steps may stand side by side where they agree, as in a run's ``config.yaml``; then the
    pairs count, whatever the batch becomes.

    Args:
        layers: the strongest last.

    Raises:
        UsageError: both are named in one place, and they do not agree.
    """
    found: list[Layer] = []
    for layer in layers:
        values = dict(layer.values)
        has_pairs, has_steps = (values.get(key) is not None for key in (PAIRS, STEPS))
        if has_pairs and has_steps:
            _check_agreement(values, layer.origin)
            del values[STEPS]
            has_steps = False
        if has_pairs or has_steps:
            found = [_without_length(other, layer.origin) for other in found]
        found.append(replace(layer, values=values))
    return found


def settled(found: Resolved[TrainConfig]) -> Resolved[TrainConfig]:
    """The settings with the steps that the pairs come to where that is known already.

    Raises:
        UsageError: they name neither pairs nor steps.
    """
    config, origins = found.value, dict(found.origins)
    if config.iterations is not None:
        origins[PAIRS] = origins[STEPS]
        return Resolved(config.model_copy(update={PAIRS: None}), origins)
    if config.pairs is None:
        raise UsageError("pairs and iterations are both null", "name one of them")
    batch_size = config.batch_size if isinstance(config.batch_size, int) else None
    if batch_size is None and config.pairs > 0:
        return found
    origins[STEPS] = "pairs / batch_size"
    steps = steps_of(config, batch_size or 1)
    return Resolved(config.model_copy(update={STEPS: steps}), origins)


def _check_agreement(values: Mapping[str, object], origin: str) -> None:
    try:
        pairs, steps, batch = (int(str(values.get(key))) for key in (PAIRS, STEPS, "batch_size"))
    except ValueError:
        agree = values.get(PAIRS) == values.get(STEPS) == 0  # whatever the batch
    else:
        agree = batch > 0 and steps == math.ceil(pairs / batch)
    if not agree:
        raise _both(origin)


def _without_length(layer: Layer, origin: str) -> Layer:
    """A weaker layer; of one kind with the stronger it is no weaker, as two variables are."""
    values = {key: value for key, value in layer.values.items() if key not in (PAIRS, STEPS)}
    is_alike = layer.origin.split()[0] == origin.split()[0]
    if is_alike and any(layer.values.get(key) is not None for key in (PAIRS, STEPS)):
        raise _both(layer.origin.split()[0])
    return replace(layer, values=values)


def _both(origin: str) -> UsageError:
    return UsageError(
        f"{origin}: pairs and iterations are two ways to say how long to train", "keep one of them"
    )
