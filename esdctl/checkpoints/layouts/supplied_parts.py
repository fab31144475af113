"""What a pipeline folder supplies to a file that holds less than a whole model.

Stability and Black Forest Labs publish transformers alone, and no file carries T5's tokenizer. The
rest comes from the folder that the user names, else from the one that the file lies in, else from
the one that was used when esdctl wrote the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from esdctl.checkpoints.layouts.architecture import Architecture, checked, part_config
from esdctl.checkpoints.layouts.pipeline_index import check_index, is_left_out, read_index
from esdctl.checkpoints.layouts.skeleton import skeleton
from esdctl.checkpoints.layouts.tokenizer_files import (
    TokenizerFiles,
    clip_tokenizer,
    folder_tokenizer,
)
from esdctl.checkpoints.layouts.weight_files import find_weights
from esdctl.checkpoints.tensor_info import TensorInfo
from esdctl.errors import InputError
from esdctl.models.families.family import Family, Part, TextEncoder

_OPTION = "--pipeline FOLDER"


@dataclass(frozen=True)
class Completed:
    """A model of a file, and of a folder where the file lacks something.

    Args:
        architecture: of the whole model.
        held: of those of its parts that are read from the file.
        tokenizers: one for each text encoder.
        weights: part -> the folder's files that hold it.
    """

    architecture: Architecture
    held: Architecture
    tokenizers: tuple[TokenizerFiles, ...]
    weights: Mapping[Part, tuple[Path, ...]]


def completed(
    held: Architecture,
    infos: Mapping[str, TensorInfo],
    file: Path,
    named: Path | None,
    recorded: Path | None = None,
) -> Completed:
    """Find what a file lacks.

    Args:
        held: what the file holds.
        infos: its tensors.
        file: its path.
        named: a pipeline folder that the user names; None for the one that the file lies in, if it
            lies in one of the same family.
        recorded: the folder that the file's own metadata name, for want of another.

    Raises:
        InputError: a part or a tokenizer is missing, or the folder is of another family.
    """
    family = held.family
    folder = named or _own_folder(file, family) or recorded
    notes: tuple[str, ...] = ()
    supplied: tuple[Part, ...] = ()
    used = tuple(part for part in held.configs if _is_usable(part, held, infos, folder))
    if folder is not None:
        index = read_index(folder)
        notes += check_index(index, family, folder)
        supplied = tuple(
            part
            for part, kind in family.parts.items()
            if part not in used and not (kind.is_optional and is_left_out(index, part, folder))
        )
        held = _as_the_folder_says(held, folder)
    _refuse_missing({*used, *supplied}, held, file)
    configs = {
        part: held.configs[part] if part in used else part_config(folder or file, part)
        for part in family.parts
        if part in (*used, *supplied)
    }
    notes += _notes(held, used, supplied, folder)
    architecture = checked(replace(held, configs=configs, notes=()), folder or file)
    return Completed(
        replace(architecture, notes=tuple(dict.fromkeys((*notes, *architecture.notes)))),
        replace(held, configs={part: configs[part] for part in used}),
        tuple(_tokenizer(each, architecture, used, folder) for each in architecture.encoders),
        {part: find_weights(folder, part) for part in supplied} if folder is not None else {},
    )


def _own_folder(file: Path, family: Family) -> Path | None:
    """The pipeline folder that the file lies in, as published files do; None without one."""
    kinds = (family.pipeline, *family.same_pipelines)
    return file.parent if read_index(file.parent).get("_class_name") in kinds else None


def _encoder(family: Family, part: Part) -> TextEncoder | None:
    return next((each for each in family.encoders if each.part == part), None)


def _is_usable(
    part: Part, held: Architecture, infos: Mapping[str, TensorInfo], folder: Path | None
) -> bool:
    """Whether a part of the file can be read: T5 needs a tokenizer, and is often in fp8."""
    encoder = _encoder(held.family, part)
    if encoder is None or encoder.kind == "clip":
        return True
    has_tokenizer = folder is not None and (folder / encoder.tokenizer).is_dir()
    return has_tokenizer and not _is_fp8(part, held.family, infos)


def _is_fp8(part: Part, family: Family, infos: Mapping[str, TensorInfo]) -> bool:
    prefix = family.parts[part].prefix
    return any(i.dtype.startswith("F8") for name, i in infos.items() if name.startswith(prefix))


def _as_the_folder_says(held: Architecture, folder: Path) -> Architecture:
    """With the folder's configs of transformer and scheduler, where its transformer is the same
    but for the weights: shapes do not tell all of them."""
    part = held.family.denoiser.part
    if not (folder / part / "config.json").is_file():
        return held
    config = part_config(folder, part)
    mine, its = (replace(held, configs={part: each}) for each in (held.configs[part], config))
    if not held.family.denoiser.is_config(config) or skeleton(mine) != skeleton(its):
        return held
    scheduler = part_config(folder, "scheduler", "scheduler_config.json")
    return replace(held, configs={**held.configs, part: config}, scheduler=scheduler)


def _refuse_missing(found: set[Part], held: Architecture, file: Path) -> None:
    family = held.family
    missing = [p for p, kind in family.parts.items() if p not in found and not kind.is_optional]
    if not missing:
        return
    here = [part for part in missing if part in held.configs]
    if here:
        reason = f"a file carries no tokenizer for its {here[0]} (T5)"
    else:
        reason = f"it holds no {', no '.join(missing)}"
    raise InputError(
        f"{file} is not a whole model of {family.title}: {reason}",
        f"name a pipeline folder of {family.title} that supplies the rest, with {_OPTION}, or put "
        "the file into it",
    )


def _notes(
    held: Architecture, used: tuple[Part, ...], supplied: tuple[Part, ...], folder: Path | None
) -> tuple[str, ...]:
    notes = []
    if supplied:
        notes.append(f"{', '.join(supplied)}: read from {folder}")
    for part, kind in held.family.parts.items():
        if kind.is_optional and part not in (*used, *supplied):
            state = "is left out, since a file carries no tokenizer for it, or it is fp8"
            state = state if part in held.configs else "is not in the file"
            notes.append(
                f"the {part} (T5) {state}; prompts are read without it. {_OPTION} names a pipeline "
                "folder that has it"
            )
    return tuple(notes)


def _tokenizer(
    encoder: TextEncoder, architecture: Architecture, used: tuple[Part, ...], folder: Path | None
) -> TokenizerFiles:
    if encoder.kind == "clip" and encoder.part in used:
        return clip_tokenizer(encoder)
    assert folder is not None  # else the encoder would have been left out or refused
    return folder_tokenizer(folder, encoder, architecture.config(encoder.part))
