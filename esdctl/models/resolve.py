"""From what a user calls a model to the files that hold it."""

from dataclasses import dataclass
from pathlib import Path

from esdctl.checkpoints.delta import read_delta_metadata
from esdctl.errors import InputError, IntegrityError
from esdctl.storage.digest import sha256_files
from esdctl.storage.workspace import Workspace

POCKET = Path(__file__).parent.parent / "pocket" / "weights"
DELTA_NAME = "delta.safetensors"
WEIGHTS = (
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
)


@dataclass(frozen=True)
class Pipeline:
    """A model's files: a pipeline folder in the diffusers layout, and perhaps a delta on top.

    Args:
        name: what to call it when it is named again (in a delta, in a plan).
        folder: holds model_index.json, unet/, vae/, text_encoder/, tokenizer/, scheduler/.
        delta: the erased tensors, or None for the base itself.
    """

    name: str
    folder: Path
    delta: Path | None = None

    def base_digest(self) -> str:
        """sha256 over the names and bytes of the base's three weight files."""
        return sha256_files({part: self.folder / part for part in WEIGHTS})

    def digest(self) -> str:
        """sha256 that identifies base and delta together."""
        if self.delta is None:
            return self.base_digest()
        return sha256_files(
            {**{part: self.folder / part for part in WEIGHTS}, DELTA_NAME: self.delta}
        )


def default_model(workspace: Workspace) -> str:
    """The base that ``train`` uses when none is named: ``diffuser`` if it is there, else pocket."""
    return "diffuser" if (_diffuser(workspace) / "model_index.json").is_file() else "pocket"


def resolve_model(name: str, workspace: Workspace) -> Pipeline:
    """Find a model.

    Args:
        name: ``pocket``, ``diffuser``, a pipeline folder, a run folder, or a delta file.
        workspace: where named models lie.

    Returns:
        The files.

    Raises:
        InputError: there is no such model, or a part of it is missing.
        IntegrityError: a delta's base is another model than the one it was made from.
    """
    if name == "pocket":
        return _checked(Pipeline("pocket", POCKET))
    if name in ("diffuser", "diffusers"):
        return _checked(Pipeline("diffuser", _diffuser(workspace)))
    if name == "compvis":
        raise InputError(
            "the compvis checkpoint cannot be read by this version",
            "use --model pocket, --model diffuser, or a diffusers pipeline folder",
        )
    path = Path(name).expanduser()
    if path.is_dir() and (path / "model_index.json").is_file():
        return _checked(Pipeline(str(path.resolve()), path))
    if path.is_dir() and (path / "run.json").is_file():
        if not (path / DELTA_NAME).is_file():
            raise InputError(
                f"the run in {path} is not finished: it has no {DELTA_NAME}",
                f"finish it: esdctl train --resume {path}",
            )
        return _from_delta(path / DELTA_NAME, workspace)
    if path.is_file() and path.suffix == ".safetensors":
        return _from_delta(path, workspace)
    if path.is_dir():
        raise InputError(
            f"{path} is neither a pipeline folder (model_index.json) nor a run folder (run.json)",
            "give the folder that esdctl train printed",
        )
    if path.is_file():
        raise InputError(
            f"{path} is no model that this version reads",
            "give a diffusers pipeline folder, a run folder or a delta (.safetensors)",
        )
    raise InputError(
        f"no model called {name!r}, and no such path",
        "use pocket, diffuser, a pipeline folder, a run folder or a delta file",
    )


def _diffuser(workspace: Workspace) -> Path:
    return workspace.models / "diffuser" / "style50"


def _from_delta(path: Path, workspace: Workspace) -> Pipeline:
    metadata = read_delta_metadata(path)
    base = resolve_model(metadata.get("base", ""), workspace)
    if base.base_digest() != metadata.get("base_digest"):
        raise IntegrityError(
            f"{path} was made from another base than the present {base.name}",
            "use the version of the base that it was trained from, or train again",
        )
    return Pipeline(str(path.resolve()), base.folder, path)


def _checked(pipeline: Pipeline) -> Pipeline:
    parts = ("model_index.json", *WEIGHTS, "scheduler/scheduler_config.json")
    missing = [part for part in parts if not (pipeline.folder / part).is_file()]
    if missing:
        raise InputError(
            f"the model {pipeline.name} in {pipeline.folder} lacks {', '.join(missing)}",
            "download or unpack it again",
        )
    return pipeline
