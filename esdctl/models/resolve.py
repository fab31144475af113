"""From what a user calls a model to the files that hold it."""

import hashlib
import json
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch

from esdctl.checkpoints.changes.apply import add_changes, check_fits, is_change, open_change
from esdctl.checkpoints.layouts.model_files import ModelFiles, open_model
from esdctl.checkpoints.safetensors.metadata import recorded_folder, recorded_settings
from esdctl.errors import InputError, IntegrityError, UsageError
from esdctl.models.model_paths import existing_path, named_path, supplier_folder
from esdctl.models.named import DELTA_NAME, EMBEDDED, RECORD_NAME
from esdctl.models.sealed import check_sealed
from esdctl.progress import Reporter, Silent
from esdctl.storage.digest import sha256_file
from esdctl.storage.workspace import Workspace

_SIZES = ("block_out_channels", "num_layers", "num_attention_heads")  # of a denoiser


@dataclass(frozen=True)
class Pipeline:
    """A model's files: a base in either layout, and perhaps a delta on top.

    Args:
        name: what to call it when it is named again (in a delta, in a plan).
        path: the base: a pipeline folder, or a CompVis checkpoint.
        delta: what changes its U-Net (a delta, the authors' form, a LoRA), or None.
        model_config: an LDM config file for the base, if the user names one.
        prediction_type: the base's, if the user names it.
        supplier: the pipeline folder that supplies what a file with a transformer alone lacks, if
            the user names one.
        earlier: the deltas below, first to last, where an erased model was erased once more.
        reporter: told of a slow first reading.
    """

    name: str
    path: Path
    delta: Path | None = None
    model_config: Path | None = None
    prediction_type: str | None = None
    supplier: Path | None = None
    earlier: tuple[Path, ...] = ()
    reporter: Reporter = field(default=Silent(), compare=False, repr=False)

    @property
    def folder(self) -> Path:
        """Where the files that belong to the base lie: its concepts, its classifier."""
        folder = self.path.parent if self.path.is_file() else self.path
        return folder if self.embedded is None else EMBEDDED[self.embedded]

    @cached_property
    def embedded(self) -> str | None:
        """Which embedded model the base is, perhaps as a copy or in the other layout; else None."""
        places = {folder.resolve(): name for name, folder in EMBEDDED.items()}
        if self.path.resolve() in places:
            return places[self.path.resolve()]
        return next((name for name in EMBEDDED if self._is_copy_of(name)), None)

    @property
    def is_embedded(self) -> bool:
        """Whether the base is one of the embedded models."""
        return self.embedded is not None

    def _is_copy_of(self, embedded: str) -> bool:
        other = Pipeline(embedded, EMBEDDED[embedded])
        try:
            mine, its = (pipeline.files.architecture.denoiser for pipeline in (self, other))
            is_alike = all(_listed(mine.get(key)) == _listed(its.get(key)) for key in _SIZES)
            return is_alike and self.base_digest() == other.base_digest()
        except (InputError, IntegrityError, UsageError):  # its reader says what is wrong
            return False

    @cached_property
    def files(self) -> ModelFiles:
        """The base's files, opened when first asked for.

        Raises:
            InputError, IntegrityError, UsageError: as ``open_model``.
        """
        return self._open()

    def base_digest(self) -> str:
        """sha256 of what the delta stands on; of a base's weights the same in either layout."""
        return replace(self, delta=None).digest()

    def digest(self) -> str:
        """sha256 that identifies the base and all deltas together."""
        digest = self._open(is_mapped=False).digest()  # reads all, and is done with each tensor
        for delta in self._deltas():
            listing = f"{digest}  base\n{sha256_file(delta)}  {DELTA_NAME}\n"
            digest = hashlib.sha256(listing.encode()).hexdigest()
        return digest

    def identity(self) -> str:
        """The digest, and what the user says of the base: equal where the pictures are."""
        if self.model_config is None and self.prediction_type is None:
            return self.digest()
        content = json.dumps([self.digest(), self.files.architecture.document()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def changed(self) -> dict[str, torch.Tensor]:
        """The U-Net's parameters that the deltas change, under diffusers' names; {} without any.

        Raises:
            InputError: a delta is damaged.
            IntegrityError: it does not fit.
        """
        values: dict[str, torch.Tensor] = {}
        for delta in self._deltas():
            denoiser = overlaid(values, self.files.read(self.files.denoiser))
            values |= add_changes([open_change(delta)], denoiser)
        return values

    def _open(self, is_mapped: bool = True) -> ModelFiles:
        return open_model(
            self.path, model_config=self.model_config, prediction_type=self.prediction_type,
            supplier=self.supplier, reporter=self.reporter, is_mapped=is_mapped,
        )  # fmt: skip

    def _deltas(self) -> tuple[Path, ...]:
        return self.earlier if self.delta is None else (*self.earlier, self.delta)


@dataclass(frozen=True)
class _BaseOptions:
    """What the user says of a base beyond its name."""

    base: str | None
    model_config: Path | None
    prediction_type: str | None
    supplier: Path | None
    reporter: Reporter


def _listed(sizes: object) -> object:
    return list(sizes) if isinstance(sizes, tuple) else sizes


def overlaid(
    values: dict[str, torch.Tensor], base: Mapping[str, torch.Tensor]
) -> Mapping[str, torch.Tensor]:
    """The base's tensors with others in their places; each is read when it is asked for."""
    return ChainMap(values, base)  # type: ignore[arg-type]  # nothing is written


def resolve_model(
    name: str,
    workspace: Workspace,
    *,
    base: str | None = None,
    model_config: Path | None = None,
    prediction_type: str | None = None,
    supplier: str | None = None,
    reporter: Reporter = Silent(),  # noqa: B008
) -> Pipeline:
    """Find a model.

    Args:
        name: ``pocket``, ``compvis``, ``diffuser``, ``hub:OWNER/NAME`` once it is downloaded, a
            pipeline folder, a checkpoint, a run folder, a delta, or a run's name in the workspace
            (or its beginning, where one run alone begins so).
        workspace: where named models lie.
        base: what a delta stands on; needed where the delta does not say it.
        model_config: an LDM config file for the base.
        prediction_type: ``epsilon`` or ``v_prediction``, where the base's files do not say it.
        supplier: a pipeline folder, or the name of one, that supplies what a file with a
            transformer alone lacks.
        reporter: told of a slow first reading.

    Returns:
        The files.

    Raises:
        InputError: there is no such model, or a part of it is missing.
        IntegrityError: a file is damaged, or a delta was made from another base.
        UsageError: there is no such prediction type, several runs begin with the name, or a base is
            named for a whole model.
    """
    place = None if supplier is None else supplier_folder(supplier, workspace)
    options = _BaseOptions(base, model_config, prediction_type, place, reporter)
    known = named_path(name, workspace)
    if known is not None:
        found = Pipeline(*known)
    else:
        path = existing_path(name, workspace)
        found = Pipeline(str(path.resolve()), path)
        if path.is_dir() and (path / RECORD_NAME).is_file():
            return _of_run(path, workspace, options)
        if path.is_file() and is_change(path):
            return _on_base(path, workspace, options)
    if base is not None:
        raise UsageError(
            f"--base is {base}, but {found.name} is a whole model and stands on none",
            "leave --base out, or give the delta or LoRA as the model",
        )
    found = replace(
        found, model_config=model_config, prediction_type=prediction_type, supplier=place,
        reporter=reporter,
    )  # fmt: skip
    if found.path.is_dir() or place is not None:
        _ = found.files  # a part that is missing is told now
    return found


def _of_run(run: Path, workspace: Workspace, options: _BaseOptions) -> Pipeline:
    if not (run / DELTA_NAME).is_file():
        raise InputError(
            f"the run in {run} is not finished: it has no {DELTA_NAME}",
            f"finish it: esdctl train --resume {run}",
        )
    return _on_base(run / DELTA_NAME, workspace, options)


def _on_base(delta: Path, workspace: Workspace, options: _BaseOptions) -> Pipeline:
    check_sealed(delta)
    change = open_change(delta)
    about = change.about
    name = options.base or about.get("base")
    if not name:
        raise InputError(
            f"{delta} does not say which model it changes",
            f"name that model with --base; to train on it: esdctl apply {delta} --base MODEL",
        )
    config, prediction = _base_settings(about)
    is_recorded = options.base in (None, about.get("base"))
    place = options.supplier or (recorded_folder(about) if is_recorded else None)
    found = resolve_model(
        name,
        workspace,
        model_config=options.model_config or config,
        prediction_type=options.prediction_type or prediction,
        supplier=None if place is None else str(place),
        reporter=options.reporter,
    )
    made_from = about.get("base_digest")
    if made_from is not None and made_from != found.digest():
        raise IntegrityError(
            f"{delta} was made from another base than the present {found.name}",
            "use the version of the base that it was trained from, or train again",
        )
    check_fits(change, found.files.denoiser_shapes())
    return replace(found, name=str(delta.resolve()), delta=delta, earlier=found._deltas())


def _base_settings(about: Mapping[str, str]) -> tuple[Path | None, str | None]:
    """The LDM config file and the prediction type that a delta's base was opened with."""
    settings = recorded_settings(about)
    config, prediction = settings.get("model_config_path"), settings.get("prediction_type")
    file = Path(config) if isinstance(config, str) else None
    is_there = file is not None and file.is_file()
    return file if is_there else None, prediction if isinstance(prediction, str) else None
