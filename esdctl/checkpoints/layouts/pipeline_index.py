"""A pipeline folder's model_index.json: which model it says the folder holds."""

import json
from pathlib import Path
from typing import Any

from esdctl.errors import InputError
from esdctl.models.families.family import Family

# How a text encoder reads a prompt -> its tokenizer's class; the first is what we write.
TOKENIZERS = {
    "clip": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "t5": ("T5TokenizerFast", "T5Tokenizer"),
    "chat": ("Qwen2TokenizerFast", "Qwen2Tokenizer"),
}
# Beside the family's parts: what filters finished pictures, or prepares other inputs.
_HARMLESS = ("feature_extractor", "safety_checker", "watermark")


def read_index(folder: Path) -> dict[str, Any]:
    """The content of model_index.json; empty without one.

    Raises:
        InputError: it is damaged.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        return {}
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {error}", "get it again") from error
    if not isinstance(index, dict):
        raise InputError(f"{path} is damaged: it is no JSON object", "get it again")
    return index


def check_index(index: dict[str, Any], family: Family, folder: Path) -> tuple[str, ...]:
    """Refuse a pipeline whose pictures depend on more than the family's parts.

    Args:
        index: the content of model_index.json.
        family: the folder's, by its U-Net.
        folder: for messages.

    Returns:
        What it says and nothing uses, in a sentence for the user; else nothing.

    Raises:
        InputError: it is a pipeline for another task, lacks a part, has a further one, or holds a
            part of another class.
    """
    hint = f"use a folder of {family.pipeline}"
    name = index.get("_class_name", family.pipeline)
    if name != family.pipeline and name not in family.same_pipelines:
        raise InputError(f"{folder} is a {name}, not a {family.pipeline}", hint)
    if index.get("requires_aesthetics_score"):
        raise InputError(f"{folder} is a refiner: its U-Net is told an aesthetics score", hint)
    if index.get("is_distilled"):
        raise InputError(
            f"{folder} was distilled to a few steps without guidance, which erasing needs",
            f"use the base model of {family.title}, and distil it afterwards",
        )
    for key, usual in family.pipeline_options.items():
        if isinstance(usual, bool) and not isinstance(index.get(key, usual), bool):
            raise InputError(
                f"{folder}: {key} is {index[key]!r} in model_index.json", "say true or false"
            )
    known: dict[str, tuple[str, ...]] = {
        part: (kind.class_name,) for part, kind in family.parts.items()
    }
    known |= {encoder.tokenizer: TOKENIZERS[encoder.kind] for encoder in family.encoders}
    optional: set[str] = {part for part, kind in family.parts.items() if kind.is_optional}
    optional |= {each.tokenizer for each in family.encoders if each.part in optional}
    for key, classes in known.items():
        if key in optional and _class_of(index.get(key)) is None:
            continue
        if key in index and _class_of(index[key]) not in classes:
            what = "absent" if _class_of(index[key]) is None else f"a {_class_of(index[key])}"
            raise InputError(f"{folder}: its {key} is {what}, not a {classes[0]}", hint)
    further = {key: _class_of(value) for key, value in index.items() if isinstance(value, list)}
    for key, class_name in further.items():
        if key not in (*known, *_HARMLESS, "scheduler") and class_name is not None:
            raise InputError(
                f"{folder} has a {key} ({class_name}), which this version does not use", hint
            )
    return _notes(index, family)


def is_left_out(index: dict[str, Any], part: str, folder: Path) -> bool:
    """Whether a folder does without an optional part: its index says so, or has no word on it."""
    if part in index:
        return _class_of(index[part]) is None
    return not (folder / part).is_dir()


def _class_of(entry: Any) -> str | None:
    """``["diffusers", "UNet2DConditionModel"]``; null twice is a part that is left out."""
    is_pair = isinstance(entry, list) and len(entry) == 2
    return str(entry[1]) if is_pair and entry[1] is not None else None


def _notes(index: dict[str, Any], family: Family) -> tuple[str, ...]:
    silent = {"requires_safety_checker", "requires_aesthetics_score", *family.pipeline_options}
    unused = [
        key
        for key, value in index.items()
        if not (isinstance(value, list) or key in silent or key.startswith("_"))
        and value not in (None, False)
    ]
    if not unused:
        return ()
    return (f"model_index.json says more than this version uses: {', '.join(sorted(unused))}",)
