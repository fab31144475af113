"""unlearn_diff's keys, and what each becomes in the present form. Loads no torch.

``unlearn_diff`` (PyPI) is esdctl's predecessor: its users' files and command lines work here.
Its ``train_config.yaml`` is known by keys that only it has, such as ``template_name``, and loads
unchanged: what is not used any more is accepted, and told once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import BaseModel

from esdctl.errors import UsageError
from esdctl.names import did_you_mean
from esdctl.settings.setting import unknown_key_hint

DatasetType = Literal["unlearncanvas", "i2p", "generic"]

# unlearn_diff's key -> the present one.
RENAMED = {
    "template_name": "concept",
    "ckpt_path": "model",
    "wandb_project": "tracker_project",
    "wandb_run": "tracker_run",
}
# Keys that decide which names are allowed, and become no setting.
RULES = {
    "dataset_type": "whose names the concept is one of: unlearncanvas, i2p or generic (any)",
    "use_sample": "allow only the names of the sample data sets",
}
UNUSED = {
    "raw_dataset_dir": "ESD needs no training pictures",
    "processed_dataset_dir": "ESD needs no training pictures",
    "interpolation": "no picture is resized in training",
    "ddim_eta": "trajectories are deterministic: eta 0 of DDIM",
    "num_workers": "no pictures are loaded in training",
    "pin_memory": "no pictures are loaded in training",
}
# Keys of its other algorithms (EraseDiff, SalUn, scissorhands, UCE, concept ablation, SPM, ...).
_OF_OTHERS = {
    "K_steps", "mask_path", "sparsity", "memory_num", "prune_num",
    "erase_scale", "preserve_scale", "preserver_prompts", "guided_concepts", "guided_concept",
    "erase_concepts", "technique", "concept_type", "caption_target", "anchor_prompts",
    "mem_impath", "parameter_group", "regularization", "instance_data_dir", "ti_weights_path",
    "initializer_tokens", "pretrained_model", "network",
    "prompts_file", "forget_batch_size",
}  # fmt: skip
ONLY_OF_UNLEARN_DIFF = {*RENAMED, *RULES, *UNUSED}
_NAMED = 3  # keys in an error
_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True)
class Translated:
    """One layer of settings in the present form.

    Args:
        values: present keys.
        is_unlearn_diff: whether the layer was written for unlearn_diff.
        unused: keys that were given and have no effect.
        dataset_type: whose names are allowed; None where it was not said.
        use_sample: whether only the sample's names are; None where it was not said.
    """

    values: dict[str, object]
    is_unlearn_diff: bool
    unused: tuple[str, ...] = ()
    dataset_type: DatasetType | None = None
    use_sample: bool | None = None


def translate(values: Mapping[str, object], model: type[BaseModel], origin: str) -> Translated:
    """Turn a layer's keys into the present ones.

    Args:
        values: as they were written, by unlearn_diff's keys or the present ones.
        model: its fields are the present keys.
        origin: the layer's name, for messages.

    Raises:
        UsageError: a key is unknown, given under both of its names, or its value is not allowed.
    """
    unknown = [
        key for key in values if key not in model.model_fields and key not in ONLY_OF_UNLEARN_DIFF
    ]
    of_others = [key for key in unknown if key in _OF_OTHERS]
    if of_others:
        first = ", ".join(of_others[:_NAMED])
        raise UsageError(
            f"{origin} is a file of another algorithm: it has {first}",
            "esdctl erases with ESD; see: esdctl guide coming-from-unlearn-diff",
        )
    for key in unknown:
        hint = unknown_key_hint(key, model, sorted(ONLY_OF_UNLEARN_DIFF))
        raise UsageError(f"{origin}: unknown key {key}", hint)
    is_unlearn_diff = not ONLY_OF_UNLEARN_DIFF.isdisjoint(values)
    present: dict[str, object] = {}
    for key, value in values.items():
        if key in RULES or key in UNUSED:
            continue
        name = RENAMED.get(key, key)
        if name in present or (name != key and name in values):
            raise UsageError(f"{origin}: {name} is given twice, also as {key}", "keep one of them")
        present[name] = value
    if is_unlearn_diff:
        _follow_unlearn_diff(present, values)
    return Translated(
        present,
        is_unlearn_diff,
        tuple(key for key in values if key in UNUSED),
        _dataset_type(values.get("dataset_type"), origin),
        _switch(values.get("use_sample"), origin),
    )


def _follow_unlearn_diff(present: dict[str, object], values: Mapping[str, object]) -> None:
    """What unlearn_diff did without being asked."""
    if present.get("separator") == "":  # it had no effect there
        present["separator"] = None
    if values.get("wandb_project") is not None:
        present.setdefault("tracker", "wandb")
    else:
        present.pop("tracker_project", None)
    if "concept" in present and not isinstance(present["concept"], str | None):
        present["concept"] = str(present["concept"])


def _dataset_type(value: object, origin: str) -> DatasetType | None:
    if value is None:
        return None
    spelled = str(value).lower().replace("_", "").replace("-", "")
    for known in get_args(DatasetType):
        if spelled == known:
            return known  # type: ignore[no-any-return]
    raise UsageError(
        f"dataset_type = {value!r} ({origin}): must be {', '.join(get_args(DatasetType))}",
        did_you_mean(spelled, get_args(DatasetType), otherwise=""),
    )


def _switch(value: object, origin: str) -> bool | None:
    """A boolean, also as text: ``False`` of a command line is false."""
    if value is None or isinstance(value, bool):
        return value
    text = str(value).lower()
    if text in (*_YES, *_NO):
        return text in _YES
    raise UsageError(f"use_sample = {value!r} ({origin}): must be true or false")
