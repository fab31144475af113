"""What a path holds, told from headers and small files alone: no tensor is read, nothing written.

A path is a pipeline folder, a checkpoint, a delta, a LoRA, an authors' delta, a run folder, or a
folder that was downloaded. A digest is told where it is known already: of small files, from the
manifest of a download, or from the user's cache.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from esdctl.checkpoints.changes import delta
from esdctl.checkpoints.changes.apply import bare_names
from esdctl.checkpoints.changes.authors_delta import parse_authors_name
from esdctl.checkpoints.changes.lora_reading import is_lora, ranks_of
from esdctl.checkpoints.changes.other_kinds import other_kind
from esdctl.checkpoints.layouts.architecture import Architecture, architecture_of_folder
from esdctl.checkpoints.layouts.compvis_architecture import architecture_of_compvis
from esdctl.checkpoints.layouts.ldm_names import is_checkpoint, ldm_names
from esdctl.checkpoints.layouts.weight_files import find_weights, unread_weights
from esdctl.checkpoints.model_digest import remembered_digest
from esdctl.checkpoints.safetensors.metadata import read_metadata
from esdctl.checkpoints.tensor_file import PeekedFile, TensorInfo, peek_tensors
from esdctl.errors import InputError
from esdctl.models.families.tensor_names import DIFFUSERS_UNET
from esdctl.storage.digest import sha256_file
from esdctl.storage.manifest import MANIFEST_NAME, read_manifest

SMALL = 256 * 2**20  # bytes that are hashed in a fraction of a second
_NAMES = {
    "F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8"
}  # fmt: skip
_UNUSED = "beside"  # the schedule's tables, averages, counters


@dataclass(frozen=True)
class Inspection:
    """What is known of a path.

    Args:
        path: the file or folder.
        kind: model, delta, authors' delta, LoRA, run, download, or what else it is where that is
            known.
        layout: compvis or diffusers, of a model.
        family: sd1, sd2 or sdxl, of a model.
        prediction_type: epsilon or v_prediction, of a model.
        dtypes: name of the element type -> how many parameters have it.
        parts: part of the model, or ``all`` -> how many parameters it has.
        tensors: how many tensors.
        bytes: size of the files.
        sha256: of the file, where it is small or its download's manifest tells.
        digest: of the model's weights, whatever their layout, where it was computed before.
        about: concept, method, base, settings and the like, where they are known.
        notes: what was assumed, or is odd.
    """

    path: Path
    kind: str
    layout: str | None = None
    family: str | None = None
    prediction_type: str | None = None
    dtypes: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, int] = field(default_factory=dict)
    tensors: int = 0
    bytes: int = 0
    sha256: str | None = None
    digest: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """How many numbers all tensors hold."""
        return sum(self.parts.values())

    def document(self) -> dict[str, object]:
        """As a JSON document."""
        content = asdict(self)
        return {**content, "path": str(self.path), "parameters": self.parameters}


def inspect(path: Path) -> Inspection:
    """Tell what a path holds.

    Raises:
        InputError: there is no such path, or it is nothing that esdctl knows.
        IntegrityError: a file lies about its content, or would run code.
    """
    if not path.exists():
        raise InputError(f"no such file or folder: {path}", "check the path")
    if not path.is_dir():
        return _inspect_file(path)
    if (path / "model_index.json").is_file():
        return _inspect_folder(path)
    if (path / "run.json").is_file():
        return _inspect_run(path)
    if (path / MANIFEST_NAME).is_file():
        return _inspect_download(path)
    inner = [child for child in path.iterdir() if (child / "model_index.json").is_file()]
    if len(inner) == 1:
        return _inspect_folder(inner[0])
    raise InputError(
        f"{path} is no pipeline folder, no run and no download",
        "give a folder with model_index.json or run.json, or a file of weights",
    )


def base_of(found: Inspection) -> str | None:
    """The name of the model that a run, a delta or a LoRA changes, where it is told."""
    base = found.about.get("base")
    name = base.get("name") if isinstance(base, dict) else base
    return name if isinstance(name, str) else None


def with_base(found: Inspection, base: Path) -> Inspection:
    """The same with the family, layout and prediction type of the model that it changes.

    Raises:
        InputError, IntegrityError: as for ``inspect``, of the base.
    """
    model = inspect(base)
    return replace(
        found,
        family=model.family,
        layout=model.layout,
        prediction_type=model.prediction_type,
        notes=(*found.notes, f"family, layout and prediction type are those of its base {base}"),
    )


def _inspect_file(path: Path) -> Inspection:
    file = peek_tensors(path)
    about = _about(file)
    form = about.pop("format", None)
    for key in ("global_step", "dropped", "left_aside"):
        if key in file.metadata:
            about[key] = file.metadata[key]
    sizes: dict[str, Any] = _sizes({"all": file.infos.values()}, (path,))
    sizes |= {"sha256": _sha256(path), "about": about}
    if is_checkpoint(file.infos):
        return _inspect_compvis(file, sizes)
    if form == delta.FORMAT:
        return Inspection(path, "delta", **sizes)
    if is_lora(file.infos):
        ranks = ranks_of(file.infos)
        sizes["about"] |= {"ranks": sorted(ranks)}
        return Inspection(path, "LoRA", **sizes)
    names = bare_names(file.infos)
    other = other_kind(names)
    if other is None and names and all(name.startswith(DIFFUSERS_UNET) for name in names):
        is_whole = {"conv_in.weight", "conv_out.weight", "mid_block.resnets.0.conv1.weight"}
        kind = "U-Net of a pipeline folder" if is_whole <= set(names) else "authors' delta"
        name = parse_authors_name(path)
        if name is not None:
            kind = "authors' delta"
            sizes["about"] |= asdict(name)
        return Inspection(path, kind, **sizes)
    if {"cls_token", "pos_embed", "head.weight"} <= set(file.infos):
        classes = "x".join(map(str, file.infos["head.weight"].shape[:1]))
        return Inspection(path, f"vision transformer that tells {classes} classes", **sizes)
    return Inspection(path, other.name if other else "tensors of an unknown kind", **sizes)


def _inspect_compvis(file: PeekedFile, sizes: dict[str, Any]) -> Inspection:
    stored = ldm_names(file.infos, file.path)
    infos = {name: file.infos[there] for name, there in stored.items()}
    architecture = architecture_of_compvis(infos, file.metadata, file.path)
    kinds = architecture.family.parts.items()
    parts: dict[str, list[TensorInfo]] = {}
    for name, info in infos.items():
        found = (part for part, kind in kinds if name.startswith(kind.prefix))
        parts.setdefault(next(found, _UNUSED), []).append(info)
    sizes |= _sizes(parts, (file.path,))
    return _model(file.path, "compvis", architecture, (file.path,), sizes)


def _inspect_folder(folder: Path) -> Inspection:
    architecture = architecture_of_folder(folder)
    files: list[Path] = []
    parts: dict[str, list[TensorInfo]] = {}
    about: dict[str, Any] = {}
    weights = {part: find_weights(folder, part) for part in architecture.configs}
    for part, found in weights.items():
        files += found
        for path in found:
            if path.suffix != ".json":
                peeked = peek_tensors(path)
                parts.setdefault(part, []).extend(peeked.infos.values())
                about |= _about(peeked)
    about.pop("format", None)
    sizes = {**_sizes(parts, files), "about": about}
    notes = (*architecture.notes, *unread_weights(folder, weights))
    return _model(folder, "diffusers", replace(architecture, notes=notes), tuple(files), sizes)


def _model(
    path: Path,
    layout: str,
    architecture: Architecture,
    files: tuple[Path, ...],
    sizes: Mapping[str, Any],
) -> Inspection:
    return Inspection(
        path,
        "model",
        layout,
        architecture.family.name,
        architecture.prediction_type,
        digest=remembered_digest(files),
        notes=architecture.notes,
        **sizes,
    )


def _inspect_run(folder: Path) -> Inspection:
    """A run's record, and the tensors of its delta once there is one."""
    record = _json((folder / "run.json").read_bytes())
    if not isinstance(record, dict):
        raise InputError(f"{folder / 'run.json'} is damaged", "train again")
    keys = ("concept", "base", "preset", "settings", "provenance")
    about = {key: record[key] for key in keys if key in record}
    path = folder / "delta.safetensors"
    if not path.is_file():
        note = f"not finished; esdctl train --resume {folder} goes on"
        return Inspection(folder, "run", about=about, notes=(note,))
    sizes = _sizes({"all": peek_tensors(path).infos.values()}, (path,))
    return Inspection(folder, "run", sha256=_sha256(path), about=about, **sizes)


def _inspect_download(folder: Path) -> Inspection:
    """A download's manifest, and the one model in it where there is one."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise InputError(f"{folder} has no manifest", "download it again")
    about = {
        "name": manifest.name,
        "source": manifest.source,
        "revision": manifest.revision,
        "files": len(manifest.files),
    }
    model = _model_inside(folder, [entry.path for entry in manifest.files])
    if model is None:
        return Inspection(folder, "download", bytes=manifest.size, about=about)
    inner = asdict(inspect(model))
    return Inspection(**{**inner, "about": {**inner["about"], **about}})


def _model_inside(folder: Path, names: Iterable[str]) -> Path | None:
    """The pipeline folder or the checkpoint of a download; None where there are none or several."""
    indexes = [name for name in names if name.endswith("model_index.json")]
    files = [name for name in names if name.endswith((".ckpt", ".pth", ".safetensors"))]
    if len(indexes) == 1:
        return (folder / indexes[0]).parent
    return folder / files[0] if len(files) == 1 and not indexes else None


def _about(file: PeekedFile) -> dict[str, Any]:
    """What esdctl wrote into the file's metadata."""
    about: dict[str, Any] = dict(read_metadata(file.metadata))
    return about | {key: _json(about[key]) for key in ("settings", "sum") if key in about}


def _sizes(parts: Mapping[str, Iterable[TensorInfo]], files: Iterable[Path]) -> dict[str, Any]:
    """Counts of what is a parameter: neither whole numbers nor tables beside the parts."""
    dtypes: Counter[str] = Counter()
    parameters: Counter[str] = Counter()
    count = 0
    for part, infos in parts.items():
        for info in infos:
            count += 1
            if info.dtype in _NAMES and part != _UNUSED:
                dtypes[_NAMES[info.dtype]] += info.elements
                parameters[part] += info.elements
    size = sum(path.stat().st_size for path in files)
    return {"dtypes": dict(dtypes), "parts": dict(parameters), "tensors": count, "bytes": size}


def _sha256(path: Path) -> str | None:
    if path.stat().st_size <= SMALL:
        return sha256_file(path)
    for folder in path.absolute().parents[:3]:
        if (folder / MANIFEST_NAME).is_file():
            manifest = read_manifest(folder)
            name = path.absolute().relative_to(folder).as_posix()
            entries = manifest.files if manifest else ()
            return next((entry.sha256 for entry in entries if entry.path == name), None)
    return None


def _json(text: str | bytes) -> Any:
    """JSON, or the text itself where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
