"""CompVis checkpoints: a whole model in one file, read as and written from diffusers' parts."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

from esdctl.checkpoints.layouts.accounting import Account, account, stored_names
from esdctl.checkpoints.layouts.architecture import Architecture
from esdctl.checkpoints.layouts.key_map import Place, places
from esdctl.checkpoints.layouts.schedule_buffers import schedule_buffers
from esdctl.checkpoints.layouts.skeleton import skeleton
from esdctl.checkpoints.layouts.transformed import from_stored, stored_tensors
from esdctl.checkpoints.tensor_file import RenamedFile, TensorFile
from esdctl.checkpoints.tensor_info import DTYPES, not_finite
from esdctl.errors import InputError
from esdctl.models.families.family import Part
from esdctl.models.families.registry import bare_transformer
from esdctl.models.families.tensor_names import V_PREDICTION_MARK

LOGIT_SCALE = 4.6052  # ln 100, where CLIP's training ends; nothing in Stable Diffusion reads it


class LazyTensors(Mapping[str, torch.Tensor]):
    """Tensors by their new names, each read when it is asked for, never kept.

    Args:
        read: gives a tensor of the file by its name there.
        places: new name -> where it lies.
        identity: new name -> side and type of an identity matrix that the file leaves out.
    """

    def __init__(
        self,
        read: Callable[[str], torch.Tensor],
        places: Mapping[str, Place],
        identity: Mapping[str, tuple[int, torch.dtype]] = {},  # never written to
    ) -> None:
        self._read = read
        self._places = places
        self._identity = identity

    def __getitem__(self, name: str) -> torch.Tensor:
        if name in self._identity:
            side, dtype = self._identity[name]
            return torch.eye(side, dtype=dtype)
        place = self._places[name]
        return from_stored(self._read(place.name), place.transform)

    def __iter__(self) -> Iterator[str]:
        return iter((*self._places, *self._identity))

    def __len__(self) -> int:
        return len(self._places) + len(self._identity)


class CompvisModel(Mapping[Part, Mapping[str, torch.Tensor]]):
    """The parts of a checkpoint under canonical diffusers names.

    ``is_bare`` says that it holds a transformer whose names have no prefix.

    Args:
        file: the checkpoint.
        found: where everything lies in it.
        architecture: of the parts that are read from it.
    """

    def __init__(self, file: TensorFile, found: Account, architecture: Architecture) -> None:
        known = _identities(file, found, architecture)
        self._parts = {
            part: LazyTensors(file.read, rows, known.get(part, {}))
            for part, rows in found.places.items()
        }
        unused, left_out = (
            {name: Place(name) for name in names} for names in (found.unused, found.left_out)
        )
        self.unused: Mapping[str, torch.Tensor] = LazyTensors(file.read_unused, unused)
        self.left_out: Mapping[str, torch.Tensor] = LazyTensors(file.read_unused, left_out)
        self.architecture = architecture
        names = file.stored.values() if isinstance(file, RenamedFile) else file.infos
        self.is_bare = bare_transformer(names) is not None
        step = file.metadata.get("global_step", "")
        self.global_step = int(step) if step.isdecimal() else 0  # of the training that made it

    def __getitem__(self, part: Part) -> Mapping[str, torch.Tensor]:
        return self._parts[part]

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def read_compvis(file: TensorFile, architecture: Architecture) -> CompvisModel:
    """The parts of a checkpoint, lazily: nothing is read until a tensor is asked for.

    Args:
        file: the checkpoint.
        architecture: what it is.

    Returns:
        Part -> canonical diffusers name -> tensor, mostly views into the file. ``unused`` holds
        what diffusers has no place for, for ``compvis_tensors``.

    Raises:
        InputError: a tensor is missing, unexpected or misshapen.
    """
    found = account(file.infos, architecture, file.path)
    return CompvisModel(file, found, architecture)


def _identities(
    file: TensorFile, found: Account, architecture: Architecture
) -> dict[Part, dict[str, tuple[int, torch.dtype]]]:
    """The matrices that the file leaves out, in the type of their part's first tensor."""
    made: dict[Part, dict[str, tuple[int, torch.dtype]]] = {}
    for part, shapes in skeleton(architecture).items():
        for name in architecture.family.parts[part].identity:
            first = next(iter(found.places[part].values()))
            made.setdefault(part, {})[name] = shapes[name][0], DTYPES[file.infos[first.name].dtype]
    return made


def broken_tables(model: CompvisModel, path: Path) -> tuple[str, ...]:
    """A sentence for each tensor that holds NaN or infinity, and that no picture depends on."""
    found = {name: not_finite(tensor) for name, tensor in model.unused.items()}
    return tuple(
        f"{name} in {path} holds {what}; no picture depends on it"
        for name, what in found.items()
        if what
    )


def compvis_tensors(
    parts: Mapping[Part, Mapping[str, torch.Tensor]],
    architecture: Architecture,
    unused: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """A complete checkpoint under CompVis names.

    What CompVis' layout has and diffusers' lacks is made: the schedule's tables, position numbers,
    and for SD 2.x OpenCLIP's last layer, which nothing reads: of zeros, so that it hands on what
    it gets.

    Args:
        parts: every part under canonical diffusers names.
        architecture: what they are.
        unused: as ``CompvisModel.unused``; kept as it is, in place of what would be made.

    Raises:
        InputError: a part is missing, or a tensor of it.
    """
    tensors: dict[str, torch.Tensor] = {}
    for part in architecture.configs:
        _check_part(part, parts, architecture)
        tensors |= stored_tensors(parts[part], _stored_places(part, parts[part], architecture))
    tensors |= _made(tensors, architecture)
    return tensors | dict(unused or {})


def _stored_places(
    part: Part, tensors: Mapping[str, torch.Tensor], architecture: Architecture
) -> dict[str, Place]:
    family = architecture.family
    return places(family, part, stored_names(family, part, tensors))


def _made(
    tensors: Mapping[str, torch.Tensor], architecture: Architecture
) -> dict[str, torch.Tensor]:
    """What a complete checkpoint has beside the parts' tensors."""
    made: dict[str, torch.Tensor] = {}
    family = architecture.family
    if family.one_file is not None:
        return made  # such files come with and without
    for encoder in family.encoders:
        part, config = family.parts[encoder.part], architecture.config(encoder.part)
        if part.table == "clip":
            positions = torch.arange(config.get("max_position_embeddings", 77))[None]  # (1, 77)
            made[f"{part.prefix}text_model.embeddings.position_ids"] = positions
        else:
            made[f"{part.prefix}logit_scale"] = torch.tensor(LOGIT_SCALE)
        if encoder.full_layers is not None:
            made |= _last_layer(tensors, part.prefix, config["num_hidden_layers"])
    if family.process.has_tables:
        made |= schedule_buffers(architecture.noise)
    if family.process.has_prediction_mark and architecture.prediction_type == "v_prediction":
        made[V_PREDICTION_MARK] = torch.empty(0)
    return made


def _last_layer(
    tensors: Mapping[str, torch.Tensor], prefix: str, index: int
) -> dict[str, torch.Tensor]:
    """OpenCLIP's last layer, which adds nothing, and its projection, which changes nothing."""
    before = f"{prefix}transformer.resblocks.{index - 1}."
    layer = {
        f"{prefix}transformer.resblocks.{index}.{name.removeprefix(before)}": torch.zeros_like(like)
        for name, like in tensors.items()
        if name.startswith(before)
    }
    width = tensors[f"{prefix}positional_embedding"]  # (77, D)
    projection = torch.eye(width.shape[1], dtype=width.dtype)  # (D, D)
    return {**layer, f"{prefix}text_projection": projection}


def _check_part(
    part: Part, parts: Mapping[Part, Mapping[str, torch.Tensor]], architecture: Architecture
) -> None:
    expected = skeleton(architecture)[part]
    held = parts.get(part, {})
    wrong = [name for name in {**expected, **held} if (name in expected) != (name in held)]
    if wrong:
        raise InputError(
            f"the {part} does not have the tensors of its architecture: {', '.join(wrong[:10])}",
            "a complete checkpoint needs every part of the model",
        )
