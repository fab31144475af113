"""From the layers of settings to one typed plan of an erasure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from esdctl.erasing.base_model import find_base
from esdctl.erasing.batches import few_steps_note, usual_batch, with_batch
from esdctl.erasing.chosen_preset import guidance_notes, preset_of
from esdctl.erasing.concepts import (
    EVERY_NAME,
    FULL_SIZE,
    Catalogue,
    Concept,
    kind_of,
    read_catalogue,
    split_retained,
    template_of,
)
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.config_checks import PLACE
from esdctl.erasing.frozen_storage import check_frozen
from esdctl.erasing.methods import method_of
from esdctl.erasing.plan_of_edit import check_several, check_warm_start, forms_of, with_earlier
from esdctl.erasing.preset import Preset, load_preset
from esdctl.erasing.request import EraseRequest, Sources, read_sources, unused_variables
from esdctl.erasing.run_folder import open_run
from esdctl.erasing.settings_digest import CHANGEABLE, settings_digest
from esdctl.erasing.several import describe_concepts
from esdctl.erasing.train_methods import check_method
from esdctl.erasing.training_length import pairs_of
from esdctl.erasing.unlearn_diff_names import check_names
from esdctl.errors import InputError, UsageError
from esdctl.models.cpu_cost import cpu_cost_note
from esdctl.models.image_size import check_sides
from esdctl.models.named import EMBEDDED, run_path
from esdctl.models.resolve import Pipeline
from esdctl.progress import Reporter, Silent
from esdctl.settings.resolve import Resolved
from esdctl.settings.setting import has_effect, setting_of
from esdctl.settings.settings_file import WORKSPACE_FILES
from esdctl.settings.unlearn_diff.keys import Translated, translate
from esdctl.storage.workspace import Workspace


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
        lr_batch: the batch that the learning rate belongs to, where the machine chooses one; None
            where the rate is meant as it is.
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
    lr_batch: int | None = None


def plan_erase(
    request: EraseRequest,
    workspace: Workspace,
    reporter: Reporter = Silent(),  # noqa: B008
) -> ErasePlan:
    """Resolve settings, concept and model.

    Args:
        request: what was asked for.
        workspace: where models and outputs lie.
        reporter: told of a slow first reading of the model.

    Raises:
        UsageError: a setting or a name makes no sense.
        InputError: the model or the file is missing.
    """
    return _planned(request, read_sources(request), workspace, reporter)


def _planned(
    request: EraseRequest, sources: Sources, workspace: Workspace, reporter: Reporter
) -> ErasePlan:
    without_preset = sources.resolve(None)
    first = without_preset.value
    is_bare = not (first.concept or first.concepts or first.prompt or request.config_file)
    is_unlearn_diff = sources.is_unlearn_diff or (request.is_unlearn_diff_line and is_bare)
    named = request.preset or ("unlearn-diff" if is_unlearn_diff else None)
    _check_words(sources, named)  # before a model is opened, which may take minutes
    pipeline, notes = find_base(first, is_unlearn_diff, workspace, reporter)
    chosen = named or preset_of(without_preset, pipeline)
    preset = load_preset(chosen, template_of(first), first.erase_from is not None)
    resolved = sources.resolve(preset)
    config, more = _settled(resolved, pipeline, workspace)
    lr_batch = usual_batch(resolved, preset) or sources.lr_batch
    if isinstance(config.batch_size, int):
        config, lr_batch = with_batch(config, config.batch_size, lr_batch), None
    notes += more
    catalogue = read_catalogue(pipeline.folder) or FULL_SIZE
    concept = describe_concepts(
        config, catalogue, _is_spelt_out(config, first, sources), forms_of(resolved, preset)
    )
    concept = with_earlier(concept, config, pipeline)
    family = pipeline.files.architecture.family
    check_warm_start(config, concept, family)
    check_method(config.train_method, family)
    check_frozen(config, pipeline)
    check_several(config, concept)
    if config.image_size is not None:
        check_sides(pipeline, config.image_size, config.image_size)
    if first.template is None and not concept.parts:
        by = config.train_method if config.method == "esd" else config.method
        notes.append(f"{concept.name} is erased as {config.template}, by {by}")
    notes += _more_notes(config, resolved.origins, preset, sources)
    if config.probe_earlier and pipeline.delta is None:
        notes.append(f"probe_earlier is not used: nothing was erased from {pipeline.name} before")
    notes += [*guidance_notes(config, pipeline), *pipeline.files.architecture.notes]
    cost = cpu_cost_note(pipeline, config.devices, _passes(config), config.image_size)
    notes += [cost] if cost and config.method != "edit" else []
    base_digest = pipeline.digest()
    digest = settings_digest(config, concept, base_digest, lr_batch)
    label = "".join(c if c.isalnum() or c in "-_" else "-" for c in concept.name)[:40]
    how = "edit" if config.method == "edit" else config.train_method
    default = workspace.outputs / "runs" / f"{label}-{how}-{digest[:8]}"
    return ErasePlan(
        config, _origins(resolved, config), preset, concept, catalogue, pipeline, base_digest,
        digest, request.output or default, tuple(notes), lr_batch,
    )  # fmt: skip


def _passes(config: TrainConfig) -> float:
    """U-Net passes of a whole training, roughly; ``timing`` counts them for a dry run."""
    return pairs_of(config) * (config.ddim_steps + 5 if config.trajectory == "exact" else 6)


def _check_words(sources: Sources, preset_name: str | None) -> None:
    """Refuse concepts and prompts that make no sense with any model.

    Raises:
        UsageError: there are none, or nobody knows the concept.
    """
    first = sources.resolve(None).value
    preset = None
    if preset_name is not None:
        preset = load_preset(preset_name, template_of(first), first.erase_from is not None)
    config = sources.resolve(preset).value
    split_retained(config.retain)
    if sources.is_unlearn_diff and config.concept:
        check_names((sources.file, sources.flags), template_of(config), config.concept)
    describe_concepts(config, EVERY_NAME, _is_spelt_out(config, first, sources))


def _is_spelt_out(config: TrainConfig, first: TrainConfig, sources: Sources) -> bool:
    """Whether a prompt, or a data set of any names, makes an unknown concept known."""
    own_prompts = first.prompt or [p for p in config.prompt if PLACE not in p]
    return bool(own_prompts) or "generic" in (sources.file.dataset_type, sources.flags.dataset_type)


def _more_notes(
    config: TrainConfig, origins: Mapping[str, str], preset: Preset, sources: Sources
) -> list[str]:
    notes = []
    if sources.path is not None and sources.path.name in WORKSPACE_FILES and sources.file.values:
        notes.append(f"settings of {sources.path}: {', '.join(sources.file.values)}")
    if preset.note:
        notes.append(f"preset {preset.name}: {preset.note}")
    if sources.unused:
        notes.append(f"not used any more: {', '.join(sources.unused)}")
    for name, origin in origins.items():
        is_given = origin != "default" and not origin.startswith("preset")
        if is_given and getattr(config, name) is not None and not has_effect(config, name):
            needs = setting_of(TrainConfig, name).needs
            notes.append(f"{name} ({origin}) is not used: it needs {needs}")
    few = few_steps_note(config, origins)
    return [*notes, few] if few else notes


def _settled(
    resolved: Resolved[TrainConfig], pipeline: Pipeline, workspace: Workspace
) -> tuple[TrainConfig, list[str]]:
    """The settings with what depends on the model, and paths that hold from anywhere; notices."""
    config = resolved.value
    retained, notices = split_retained(config.retain)
    changes: dict[str, object] = {
        "retain": retained,
        "model": pipeline.name,
        "model_config_path": pipeline.model_config and pipeline.model_config.resolve(),
        "pipeline": pipeline.supplier and str(pipeline.supplier.resolve()),
        "template": template_of(config),
        "method": method_of(config.warm_start, pairs_of(config)),
    }
    if config.corpus is None:
        changes["corpus"] = config.warm_start and not pipeline.is_embedded
    if config.concepts is not None:
        changes["concepts"] = config.concepts.resolve()
    if config.pool is not None:
        changes["pool"] = config.pool.resolve()
    if config.output_dir is not None:
        is_flag = resolved.origins["output_dir"] == "flag"
        changes["output_dir"] = (
            config.output_dir.resolve() if is_flag else workspace.root / config.output_dir
        )
    if pipeline.name in EMBEDDED and resolved.origins["image_size"].startswith("preset"):
        changes["image_size"] = None  # the preset's is for a full-size model
    return config.model_copy(update=changes), notices


def _origins(resolved: Resolved[TrainConfig], config: TrainConfig) -> dict[str, str]:
    """Where each setting comes from, also where the concept or the model decides it."""
    origins, found = dict(resolved.origins), resolved.value
    if found.method is None:
        origins["method"] = "warm_start and pairs"
    if found.corpus is None:
        origins["corpus"] = f"model {config.model}"
    if found.template is None and config.concept and kind_of(config.concept):
        origins["template"] = f"concept {config.concept}"
    if found.image_size is not None and config.image_size is None:
        origins["image_size"] = f"model {config.model}"
    if found.lr != config.lr:
        origins["lr"] += f", for a batch of {config.batch_size}"
    return origins


def plan_resume(
    path: Path,
    asked: EraseRequest,
    workspace: Workspace,
    reporter: Reporter = Silent(),  # noqa: B008
) -> ErasePlan:
    """The plan of an existing run.

    Args:
        path: the run folder, or its name in the workspace.
        asked: may give flags of ``CHANGEABLE``, and nothing else; variables do not count.
        workspace: where the model lies.
        reporter: told of a slow first reading of the model.

    Raises:
        UsageError: a flag would change what comes out, or the base model is another one now.
        InputError: the folder is no run, or its record is damaged.
    """
    wanted = translate(asked.flags, TrainConfig, "flag")
    others = {"config": asked.config_file, "preset": asked.preset, "output": asked.output}
    changed = [key for key in wanted.values if key not in CHANGEABLE]
    changed += [key for key, value in others.items() if value is not None]
    if changed:
        raise UsageError(
            f"--resume keeps the settings; --{changed[0].replace('_', '-')} would change them",
            "leave it out, or start another run",
        )
    path = run_path(path, workspace)
    run, record = open_run(path)
    recorded = Translated(_mapping(record["settings"], path), is_unlearn_diff=False)
    request = EraseRequest(preset=str(record.get("preset", "")) or None, output=path)
    lr_batch = record.get("lr_batch")
    sources = Sources(
        run.record, recorded, flags=wanted, lr_batch=lr_batch if isinstance(lr_batch, int) else None
    )
    plan = _planned(request, sources, workspace, reporter)
    if plan.digest != record["settings_digest"]:
        raise UsageError(
            f"{path} cannot go on: its base model or its settings are not what they were",
            "start another run",
        )
    unused = unused_variables(asked.environment, "a resumed run keeps its settings")
    return replace(plan, notes=(f"going on with {path}", *unused))


def _mapping(value: object, path: Path) -> dict[str, object]:
    if not isinstance(value, dict):
        raise InputError(
            f"{path / 'run.json'} is damaged: its settings are no mapping", "train again"
        )
    return {str(key): item for key, item in value.items()}
