"""A whole model on disk, in either layout, read part by part under the same names."""

import json
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch

from esdctl.checkpoints.layouts.architecture import Architecture, architecture_of_folder
from esdctl.checkpoints.layouts.compvis import CompvisModel, broken_tables, read_compvis
from esdctl.checkpoints.layouts.compvis_architecture import architecture_of_compvis
from esdctl.checkpoints.layouts.ldm_names import with_ldm_names
from esdctl.checkpoints.layouts.skeleton import skeleton
from esdctl.checkpoints.layouts.supplied_parts import completed
from esdctl.checkpoints.layouts.tokenizer_files import (
    TokenizerFiles,
    clip_tokenizers,
    folder_tokenizers,
)
from esdctl.checkpoints.layouts.weight_files import (
    FolderTensors,
    PartTensors,
    find_weights,
    unread_weights,
)
from esdctl.checkpoints.model_digest import digest_of, remember_digest, remembered_digest
from esdctl.checkpoints.safetensors.metadata import read_metadata, recorded_folder
from esdctl.checkpoints.tensor_file import TensorFile, open_tensors
from esdctl.checkpoints.tensor_info import Shape
from esdctl.errors import InputError, UsageError
from esdctl.models.families.family import Part
from esdctl.progress import Reporter, Silent

Layout = Literal["compvis", "diffusers"]


@dataclass(frozen=True, eq=False)
class ModelFiles:
    """A model's files; tensors are read when they are asked for.

    Args:
        path: the checkpoint or the pipeline folder.
        layout: how the files name their tensors.
        architecture: the config of each part.
        tokenizers: one for each text encoder.
        files: every file that holds weights.
        tensors: part -> canonical name -> tensor, read when it is asked for.
        checkpoint: what lies in a checkpoint, and what only such a file holds; None of a folder.
    """

    path: Path
    layout: Layout
    architecture: Architecture
    tokenizers: tuple[TokenizerFiles, ...]
    files: tuple[Path, ...]
    tensors: Mapping[Part, Mapping[str, torch.Tensor]] = field(repr=False)
    checkpoint: CompvisModel | None = field(repr=False, default=None)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The denoiser, the VAE, and the text encoders that there are."""
        return tuple(self.architecture.configs)

    @cached_property
    def empty_is_zero(self) -> bool:
        """Whether the empty prompt's embeddings are zeros.

        A pipeline folder says it in model_index.json (``force_zeros_for_empty_prompt``); where
        it is silent the family does.
        """
        key = "force_zeros_for_empty_prompt"
        usual = self.architecture.family.pipeline_options.get(key)
        index = self.path / "model_index.json"
        if usual is None or not index.is_file():
            return bool(usual)
        return bool(json.loads(index.read_bytes()).get(key, usual))

    def read(self, part: Part) -> Mapping[str, torch.Tensor]:
        """A part's tensors: diffusers' names, CLIP's without ``text_model.``; lazy and mapped.

        Raises:
            IntegrityError: when a tensor is asked for, and holds NaN or infinity.
        """
        return self.tensors[part]

    @property
    def of_one_file(self) -> Architecture:
        """What a checkpoint of the model holds: what the one does that it is read from; of a folder
        all parts, or where the denoiser is a transformer that one alone."""
        if self.architecture.family.one_file is None:
            return self.architecture
        if self.checkpoint is not None:
            return self.checkpoint.architecture
        alone = {self.denoiser: self.architecture.denoiser}
        return replace(self.architecture, configs=alone)

    @property
    def is_published_bare(self) -> bool:
        """Whether the denoiser alone is published without LDM's prefix."""
        one_file = self.architecture.family.one_file
        return one_file is not None and one_file.is_bare

    @property
    def denoiser(self) -> Part:
        """Which part is the network that is trained."""
        return self.architecture.family.denoiser.part

    def denoiser_shapes(self) -> Mapping[str, Shape]:
        """The shape of each of the denoiser's tensors, under diffusers' names; none is read."""
        tensors = self.tensors[self.denoiser]
        if isinstance(tensors, PartTensors):
            return {name: info.shape for name, info in tensors.infos.items()}
        return skeleton(self.architecture)[self.denoiser]  # which a checkpoint was held against

    def digest(self) -> str:
        """sha256 of all weights, the same in both layouts; see ``model_digest``."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        known = remembered_digest(self.files)
        if known is None:
            known = digest_of({part: self.read(part) for part in self.parts})
            remember_digest(self.files, known)
        return known


def open_model(
    path: Path,
    *,
    model_config: Path | None = None,
    prediction_type: str | None = None,
    supplier: Path | None = None,
    reporter: Reporter = Silent(),  # noqa: B008
    is_mapped: bool = True,
) -> ModelFiles:
    """Open a CompVis checkpoint or a diffusers folder, told apart by their content.

    Args:
        path: ``.ckpt``, ``.pth``, ``.safetensors`` of CompVis form, or a pipeline folder.
        model_config: an LDM config file, for a checkpoint whose shapes do not say all.
        prediction_type: ``epsilon`` or ``v_prediction``, where the files do not say it.
        supplier: the pipeline folder that supplies what a file with a transformer lacks.
        reporter: told of a slow first reading.
        is_mapped: as in ``open_tensors``.

    Returns:
        The model's files; no tensor is read yet.

    Raises:
        InputError: something is missing, damaged, or of another kind of model.
        IntegrityError: a file lies about its content, or would run code.
        UsageError: there is no such prediction type, or ``supplier`` is given to a whole model.
    """
    if path.is_dir():
        _refuse_supplier(supplier, path)
        return _open_folder(path, prediction_type, reporter, is_mapped)
    if not path.exists():
        raise InputError(f"no such file or folder: {path}", "check the path of the model")
    file = with_ldm_names(open_tensors(path, reporter, is_mapped))
    architecture = architecture_of_compvis(
        file.infos, file.metadata, path, model_config, prediction_type
    )
    if architecture.family.one_file is not None:
        return _open_transformer(file, architecture, supplier, reporter, is_mapped)
    _refuse_supplier(supplier, path)
    model = read_compvis(file, architecture)
    notes = (*architecture.notes, *broken_tables(model, path))
    return ModelFiles(
        path=path,
        layout="compvis",
        architecture=replace(architecture, notes=notes),
        tokenizers=clip_tokenizers(architecture),
        files=(path,),
        tensors=model,
        checkpoint=model,
    )


def _open_transformer(
    file: TensorFile,
    held: Architecture,
    supplier: Path | None,
    reporter: Reporter,
    is_mapped: bool,
) -> ModelFiles:
    """A file whose denoiser is a transformer, and the folder that supplies the rest."""
    recorded = recorded_folder(read_metadata(file.metadata))
    found = completed(held, file.infos, file.path, supplier, recorded)
    model = read_compvis(file, found.held)
    rest = FolderTensors(found.weights, reporter, is_mapped)
    notes = (*found.architecture.notes, *broken_tables(model, file.path))
    return ModelFiles(
        path=file.path,
        layout="compvis",
        architecture=replace(found.architecture, notes=notes),
        tokenizers=found.tokenizers,
        files=(file.path, *(path for files in found.weights.values() for path in files)),
        tensors=ChainMap(model, rest),  # type: ignore[arg-type]  # nothing is written
        checkpoint=model,
    )


def _refuse_supplier(supplier: Path | None, path: Path) -> None:
    if supplier is not None:
        raise UsageError(
            f"--pipeline is {supplier}, but {path} is a whole model and needs none",
            "leave --pipeline out; it supplies what a file with a transformer alone lacks",
        )


def _open_folder(
    folder: Path, prediction_type: str | None, reporter: Reporter, is_mapped: bool
) -> ModelFiles:
    if not (folder / "model_index.json").is_file():
        raise InputError(
            f"{folder} is no pipeline folder: it lacks model_index.json",
            "give the folder that holds model_index.json beside the model's parts",
        )
    architecture = architecture_of_folder(folder, prediction_type)
    found = {part: find_weights(folder, part) for part in architecture.configs}
    unread = unread_weights(folder, found)
    return ModelFiles(
        path=folder,
        layout="diffusers",
        architecture=replace(architecture, notes=(*architecture.notes, *unread)),
        tokenizers=folder_tokenizers(folder, architecture),
        files=tuple(path for files in found.values() for path in files),
        tensors=FolderTensors(found, reporter, is_mapped),
    )
