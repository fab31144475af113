"""The delta of ESD's authors: the selected tensors alone, under diffusers' names.

The format: one safetensors file of new values (not differences), without metadata, that is called
``esd-<concept>-from-<erased from>-<method>.safetensors``, blanks as underscores. Their loader puts
the tensors into a pipeline's U-Net with ``load_state_dict(strict=False)``. Source: the ``utils`` of
github.com/rohitgandikota/erasing. The name of the base is nowhere, so it must be given.

Of a transformer the file has metadata: family, component, base_model_id, train_method,
erase_concept and erase_from.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from esdctl.storage.atomic import write_with

# Our methods -> their names, where theirs selects (nearly) the same; norms are left out in theirs.
_METHODS = {
    "xattn": "esdx", "esd-x": "esdx", "esd-x-strict": "esdxstrict",
    "noxattn": "esdu", "esd-u": "esdu", "full": "esdall", "esd-all": "esdall",
}  # fmt: skip
_NAME = re.compile(
    r"esd-(?P<concept>.+?)-from-(?P<erase_from>.+)-(?P<method>esd[a-z]+)(?P<strict>-strict)?"
)


@dataclass(frozen=True)
class AuthorsName:
    """What the name of such a file says.

    Args:
        concept: what was erased.
        erase_from: where it was erased from; the concept itself when from everywhere.
        method: esdx, esdxstrict, esdu or esdall; else one of our own.
    """

    concept: str
    erase_from: str
    method: str

    def file_name(self) -> str:
        """The file's name."""
        text = f"esd-{self.concept}-from-{self.erase_from}-{self.method}"
        return re.sub(r"[\s/\\]+", "_", text) + ".safetensors"


def authors_name(concept: str, erase_from: str | None, train_method: str) -> AuthorsName:
    """The name of an erasure in the authors' form.

    Args:
        concept: what was erased.
        erase_from: where from; None for everywhere.
        train_method: one of ours.
    """
    method = _METHODS.get(train_method, train_method)
    return AuthorsName(concept, erase_from or concept, method)


def parse_authors_name(path: Path) -> AuthorsName | None:
    """What a file's name says; None when it is not of this form."""
    found = _NAME.fullmatch(path.stem)
    if found is None:
        return None
    concept, erase_from = (found[key].replace("_", " ") for key in ("concept", "erase_from"))
    return AuthorsName(concept, erase_from, found["method"] + ("strict" if found["strict"] else ""))


def transformer_metadata(family: str, about: Mapping[str, str]) -> dict[str, str]:
    """The metadata of a transformer's file.

    Args:
        family: its short name.
        about: what the delta says of itself.
    """
    concept = about.get("concept", "")
    return {
        "family": family,
        "component": "transformer",
        "base_model_id": about.get("base", ""),
        "train_method": about.get("train_method", ""),
        "erase_concept": concept,
        "erase_from": about.get("erase_from") or concept,
    }


def authors_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """What such metadata say, by our names; empty where there are none."""
    if "erase_concept" not in metadata:
        return {}
    named = {"concept": "erase_concept", "train_method": "train_method", "base": "base_model_id"}
    about = {ours: metadata[theirs] for ours, theirs in named.items() if metadata.get(theirs)}
    source = metadata.get("erase_from", "")
    return about if source in ("", about.get("concept")) else {**about, "erase_from": source}


def write_authors_delta(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write the tensors alone, atomically.

    Args:
        path: the file; ``AuthorsName.file_name`` tells what to call it.
        tensors: diffusers names -> new values, any shape.
        metadata: as ``transformer_metadata``; None for a U-Net.

    Raises:
        StorageError: the disk is full or not writable.
    """
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_with(
        path, lambda temporary: save_file(content, temporary, dict(metadata) if metadata else None)
    )
