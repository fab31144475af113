"""The model that an erasure starts from: the one that is named, else the best one that is here."""

from pathlib import Path

from esdctl.erasing.config import TrainConfig
from esdctl.errors import InputError
from esdctl.models.named import COMPVIS, default_model
from esdctl.models.resolve import Pipeline, resolve_model
from esdctl.progress import Reporter
from esdctl.storage.workspace import Workspace


def find_base(
    config: TrainConfig, is_unlearn_diff: bool, workspace: Workspace, reporter: Reporter
) -> tuple[Pipeline, list[str]]:
    """The base model, and what the user should know about the choice.

    Raises:
        InputError: the model, or the LDM config file that is named, is not here.
    """
    notes = []
    name = _located(config.model, workspace) if config.model else default_model(workspace)
    if config.model is None:
        notes.append(f"model: {name} (choose another with --model)")
    architecture = config.model_config_path
    if architecture is not None:
        architecture = Path(_located(str(architecture), workspace))
        if not architecture.is_file() and not is_unlearn_diff:
            raise InputError(
                f"model_config_path {architecture} does not exist",
                "leave it out; the checkpoint's own tensors say what it is",
            )
        if not architecture.is_file():  # unlearn_diff's lies in its own package
            notes.append(f"{architecture} is not here; the checkpoint's tensors say what it is")
            architecture = None
    pipeline = resolve_model(
        name, workspace, model_config=architecture, prediction_type=config.prediction_type,
        supplier=config.pipeline and _located(config.pipeline, workspace), reporter=reporter,
    )  # fmt: skip
    return pipeline, notes


def _located(path: str, workspace: Workspace) -> str:
    """A relative path that is not here is meant below the workspace's root."""
    if Path(path).exists():
        return path
    if Path(path) == Path("models") / COMPVIS:
        return "compvis"  # unlearn_diff's default; its name knows where to get it
    below = workspace.root / path
    return str(below) if "/" in path and below.exists() else path
