"""The weights of one part of a diffusers folder: which files hold them, under which names."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch

from esdctl.checkpoints.tensor_file import TensorFile, TensorInfo, open_tensors
from esdctl.errors import InputError
from esdctl.models.families.family import Part
from esdctl.progress import Reporter, Silent

_OTHER_FRAMEWORKS = (".msgpack", ".onnx", ".h5", ".xml", ".mlmodelc", ".engine", ".gguf")
# VAEs of 2022 call their attention's layers so; the published SD 1.x folders still do.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_NAME = re.compile(r"(\.attentions\.\d+\.)(query|key|value|proj_attn)(?=\.)")


@dataclass(frozen=True, eq=False)
class PartTensors(Mapping[str, torch.Tensor]):
    """A part's tensors under canonical names, each read from its file when it is asked for.

    Args:
        places: canonical name -> the file that holds it, and its name there.
    """

    places: Mapping[str, tuple[TensorFile, str]]

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Types and shapes; reads no tensor."""
        return {name: file.infos[stored] for name, (file, stored) in self.places.items()}

    def __getitem__(self, name: str) -> torch.Tensor:
        file, stored = self.places[name]
        return file.read(stored)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


class FolderTensors(Mapping[Part, PartTensors]):
    """The parts of a folder; the files of each are opened when its first tensor is asked for."""

    def __init__(
        self, files: Mapping[Part, tuple[Path, ...]], reporter: Reporter, is_mapped: bool = True
    ) -> None:
        self._files = files
        self._reporter, self._is_mapped = reporter, is_mapped
        self._opened: dict[Part, PartTensors] = {}

    def __getitem__(self, part: Part) -> PartTensors:
        if part not in self._opened:
            files = self._files[part]
            self._opened[part] = read_weights(files, part, self._reporter, self._is_mapped)
        return self._opened[part]

    def __iter__(self) -> Iterator[Part]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def find_weights(folder: Path, part: str) -> tuple[Path, ...]:
    """The files that hold a part's weights; an index file comes first.

    The plain files go before those of a variant (``...fp16.safetensors``), and safetensors before
    pickles; ``unread_weights`` tells the others.

    Args:
        folder: the pipeline folder.
        part: ``unet``, ``vae``, ``text_encoder``, ``text_encoder_2``.

    Raises:
        InputError: there are none, there are several variants and no plain files, or an index is
            damaged.
    """
    place = folder / part
    variants = _variants(place, part)
    names = _names(part, None)
    if len(variants) == 1:
        names += _names(part, variants[0])
    for name in names:
        if (place / name).is_file():
            path = place / name
            return (path, *_shards(path)) if path.suffix == ".json" else (path,)
    wanted = names[0]
    hint = "download or unpack it again"
    others = sorted(path.name for path in place.glob("*") if path.suffix in _OTHER_FRAMEWORKS)
    if others:
        hint = f"{', '.join(others[:5])} is of another framework; get the safetensors"
    if variants:
        hint = f"there are variants: {', '.join(variants)}; keep the files of one of them"
    raise InputError(f"the model in {folder} lacks {part}/{wanted}", hint)


def unread_weights(folder: Path, found: Mapping[Part, tuple[Path, ...]]) -> tuple[str, ...]:
    """The weights of a folder that are left aside, in sentences for the user.

    Args:
        folder: the pipeline folder.
        found: part -> what ``find_weights`` found.
    """
    sentences = []
    for part, read in found.items():
        there = (*(folder / part).glob("*.safetensors"), *(folder / part).glob("*.bin"))
        unread = sorted(path.name for path in there if path not in read)
        if unread:
            sentences.append(
                f"the {part} is read from {read[0].name}; its other weights are not: "
                f"{', '.join(unread[:5])}{' and more' if len(unread) > 5 else ''}"
            )
    loras = sorted(path.name for path in folder.glob("*lora*.safetensors"))
    if loras:
        sentences.append(
            f"{', '.join(loras)} beside the model's parts is not in place; esdctl apply adds a LoRA"
        )
    return tuple(sentences)


def read_weights(
    files: tuple[Path, ...],
    part: Part,
    reporter: Reporter = Silent(),  # noqa: B008
    is_mapped: bool = True,
) -> PartTensors:
    """Open what ``find_weights`` found.

    Args:
        files: of one part.
        part: which.
        reporter: told of a slow first reading.
        is_mapped: as in ``open_tensors``.

    Raises:
        InputError: two files hold the same tensor, or an index and its files disagree.
        IntegrityError: as ``open_tensors``.
    """
    index = files[0] if files[0].suffix == ".json" else None
    opened = [open_tensors(path, reporter, is_mapped) for path in files if path != index]
    places: dict[str, tuple[TensorFile, str]] = {}
    for file in opened:
        for stored in file.infos:
            name = canonical_name(part, stored)
            if name is None:
                continue
            if name in places:
                raise InputError(
                    f"{file.path} holds {name} a second time", "get the model's folder again"
                )
            places[name] = (file, stored)
    if index is not None:
        _compare_with_index(index, opened)
    return PartTensors(places)


def canonical_name(part: Part, name: str) -> str | None:
    """The one name that a tensor of a diffusers folder is known by; None for what is no weight.

    transformers 5.6 dropped ``text_model.`` from the names of its CLIPTextModel, older versions
    stored the positions' numbers, and diffusers renamed the VAE's attention.
    """
    if part in ("text_encoder", "text_encoder_2"):
        short = name.removeprefix("text_model.")
        return None if short == "embeddings.position_ids" else short
    if part == "vae":
        return _OLD_NAME.sub(lambda found: found[1] + _OLD_ATTENTION[found[2]], name)
    return name


def _names(part: str, variant: str | None) -> list[str]:
    """File names in the order of preference; both spellings of an index's variant are in use."""
    mark = f".{variant}" if variant else ""
    names = []
    for stem, suffix in _stems(part):
        names += [
            f"{stem}{mark}{suffix}",
            f"{stem}{suffix}.index{mark}.json",
            f"{stem}{mark}{suffix}.index.json",
        ]
    return names


def _stems(part: str) -> tuple[tuple[str, str], tuple[str, str]]:
    if part.startswith("text_encoder"):
        return ("model", ".safetensors"), ("pytorch_model", ".bin")
    return ("diffusion_pytorch_model", ".safetensors"), ("diffusion_pytorch_model", ".bin")


def _variants(place: Path, part: str) -> list[str]:
    found = set()
    for stem, suffix in _stems(part):
        whole = re.compile(rf"{stem}\.(\w+){re.escape(suffix)}")
        indexed = re.compile(rf"{stem}{re.escape(suffix)}\.index\.(\w+)\.json")
        for path in place.glob(f"{stem}*"):
            match = whole.fullmatch(path.name) or indexed.fullmatch(path.name)
            if match:
                found.add(match[1])
    return sorted(found)


def _shards(index: Path) -> list[Path]:
    """The files that an index names, each once; all in the index's own folder."""
    names = sorted(set(_weight_map(index).values()))
    for name in names:
        if PurePosixPath(name).name != name or "\\" in name or name.startswith("."):
            raise InputError(
                f"{index} names a file outside its folder: {name!r}",
                "get the model from a publisher whom you trust",
            )
    paths = [index.with_name(name) for name in names]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise InputError(
            f"{index.parent} lacks {', '.join(missing[:10])}", "download or unpack it again"
        )
    return paths


def _weight_map(index: Path) -> dict[str, str]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        table = content["weight_map"]
        return {str(tensor): str(file) for tensor, file in table.items()}
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index} is no index of weight files", "get it again") from error


def _compare_with_index(index: Path, opened: list[TensorFile]) -> None:
    listed = _weight_map(index)
    held = {name: file.path.name for file in opened for name in file.infos}
    wrong = sorted(name for name in {*listed, *held} if listed.get(name) != held.get(name))
    if wrong:
        raise InputError(
            f"{index} and its files disagree on {len(wrong)} tensors: {', '.join(wrong[:10])}",
            "get the model's folder again",
        )
