"""From the layers of settings to one typed plan of an erasure."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from esdctl.datasets import unlearn_canvas
from esdctl.errors import InputError, UsageError
from esdctl.esd.concepts import Catalogue, Concept, describe_concept, read_catalogue
from esdctl.esd.config import TrainConfig
from esdctl.esd.preset import Preset, load_preset
from esdctl.esd.run_folder import open_run
from esdctl.models.resolve import Pipeline, default_model, resolve_model
from esdctl.settings.resolve import resolve
from esdctl.storage.workspace import Workspace

# They change how a run is done, not what comes out of it.
CHANGEABLE = {
    "devices", "save_every", "gradient_checkpointing", "format", "output_dir", "output_name",
    "tracker", "tracker_project", "tracker_run",
}  # fmt: skip
_NOT_IN_DIGEST = {*CHANGEABLE, "model", "model_config_path"}


@dataclass(frozen=True)
class ErasePlan:
    """What a run will do.

    Args:
        config: every setting.
        origins: where each setting comes from.
        preset: the preset in use.
        concept: what is erased and kept.
        catalogue: the names that the model knows.
        pipeline: the base model's files.
        base_digest: sha256 of the base model.
        digest: sha256 over all that decides the result.
        output: the run folder.
        notes: what was inferred; for the user.
    """

    config: TrainConfig
    origins: Mapping[str, str]
    preset: Preset
    concept: Concept
    catalogue: Catalogue
    pipeline: Pipeline
    base_digest: str
    digest: str
    output: Path
    notes: tuple[str, ...]


def plan_erase(
    flags: Mapping[str, object | None],
    environment: Mapping[str, str],
    config_file: Path | None,
    preset_name: str | None,
    output: Path | None,
    workspace: Workspace,
) -> ErasePlan:
    """Resolve settings, concept and model.

    Args:
        flags: of the command line; None where not given.
        environment: ``ESDCTL_TRAIN_...``.
        config_file: a YAML file of TrainConfig's keys, or None.
        preset_name: or None for the one that suits model and template.
        output: the run folder, or None for one below the workspace's outputs.
        workspace: where models and outputs lie.

    Raises:
        UsageError: a setting or a name makes no sense.
        InputError: the model or the file is missing.
    """
    first = resolve(TrainConfig, "train", flags, environment, config_file, None).value
    notes = []
    name = first.model or default_model(workspace)
    if first.model is None:
        notes.append(f"model: {name} (choose another with --model)")
    pipeline = resolve_model(name, workspace)
    catalogue = read_catalogue(pipeline.folder) or Catalogue(
        unlearn_canvas.STYLES, unlearn_canvas.OBJECTS
    )
    template = _template(first)
    chosen = preset_name or ("pocket" if pipeline.name == "pocket" else _preset_of(template))
    preset = load_preset(chosen, template, first.erase_from is not None)
    resolved = resolve(
        TrainConfig, "train", flags, environment, config_file, preset.values, preset.name
    )
    config = resolved.value.model_copy(update={"model": name, "template": template})
    own_prompts = first.prompt or [p for p in config.prompt if "{concept}" not in p]
    concept = describe_concept(config, catalogue, is_spelt_out=bool(own_prompts))
    if first.template is None:
        notes.append(f"{concept.name} is erased as {template}, by {config.train_method}")
    if preset.note:
        notes.append(f"preset {preset.name}: {preset.note}")
    base_digest = pipeline.digest()
    digest = _digest(config, concept, base_digest)
    label = "".join(c if c.isalnum() or c in "-_" else "-" for c in concept.name)[:40]
    default = workspace.outputs / "runs" / f"{label}-{config.train_method}-{digest[:8]}"
    return ErasePlan(
        config, resolved.origins, preset, concept, catalogue, pipeline, base_digest, digest,
        output or default, tuple(notes),
    )  # fmt: skip


def _template(config: TrainConfig) -> str:
    if config.template is not None:
        return config.template
    known = unlearn_canvas.find(config.concept) if config.concept else None
    return known.kind if known else "object"


def _preset_of(template: str) -> str:
    return {"style": "style", "object": "object"}.get(template, "nudity")


def _digest(config: TrainConfig, concept: Concept, base_digest: str) -> str:
    content = {
        "settings": config.model_dump(mode="json", exclude=_NOT_IN_DIGEST),
        "prompts": concept.prompts,
        "retained": concept.retained,
        "base": base_digest,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def plan_resume(path: Path, flags: Mapping[str, object | None], workspace: Workspace) -> ErasePlan:
    """The plan of an existing run.

    Args:
        path: the run folder.
        flags: of the command line; only those of ``CHANGEABLE`` may be given.
        workspace: where the model lies.

    Raises:
        UsageError: a flag would change what comes out, or the base model is another one now.
        InputError: the folder is no run, or its record is damaged.
    """
    changed = [key for key, value in flags.items() if value is not None and key not in CHANGEABLE]
    if changed:
        raise UsageError(
            f"--resume keeps the settings; --{changed[0].replace('_', '-')} would change them",
            "leave it out, or start another run",
        )
    _, record = open_run(path)
    settings = {
        **_mapping(record["settings"], path),
        **{k: v for k, v in flags.items() if v is not None},
    }
    name = str(record.get("preset", ""))
    plan = plan_erase(settings, {}, None, name or None, path, workspace)
    if plan.digest != record["settings_digest"]:
        raise UsageError(
            f"{path} cannot go on: its base model or its settings are not what they were",
            "start another run",
        )
    return replace(plan, notes=(f"going on with {path}",))


def _mapping(value: object, path: Path) -> dict[str, object]:
    if not isinstance(value, dict):
        raise InputError(
            f"{path / 'run.json'} is damaged: its settings are no mapping", "train again"
        )
    return {str(key): item for key, item in value.items() if item is not None}
