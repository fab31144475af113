"""A model as an object: pictures, diffusers' pipeline, figures."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from esdctl.datasets.prompts import prompts_from
from esdctl.errors import UsageError
from esdctl.evaluation.evaluate import Execution
from esdctl.evaluation.evaluate import evaluate as run_evaluation
from esdctl.evaluation.evaluation_report import EvaluationReport
from esdctl.evaluation.plan import plan_evaluation
from esdctl.evaluation.request import Request
from esdctl.models.devices import find_device
from esdctl.models.diffusers_pipeline import as_diffusers_pipeline
from esdctl.models.precision import DTYPES, dtype_for
from esdctl.models.resolve import Pipeline, resolve_model
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.progress import Reporter
from esdctl.python_api.progress import reporting
from esdctl.sampling.defaults import DEFAULT_BATCH_SIZE
from esdctl.sampling.pictures import make_pictures
from esdctl.sampling.plan import BatchSize, SamplingSettings, plan_pictures
from esdctl.sampling.sample import sample_in_memory
from esdctl.sampling.schedulers import parse_scheduler
from esdctl.storage.user_path import user_path
from esdctl.storage.workspace import Workspace, find_workspace

FolderName = str | Path


@dataclass(frozen=True)
class Model:
    """A model that can be sampled and measured: a base, or one with an erasure.

    Args:
        files: what it is made of.
        workspace: where its outputs go, and where classifiers are looked for.
    """

    files: Pipeline
    workspace: Workspace
    _loaded: dict[str, StableDiffusion] = field(default_factory=dict, compare=False, repr=False)

    def sample(
        self,
        *prompts: str,
        seeds: Iterable[int] | int | None = None,
        guidance: float | None = None,
        steps: int | None = None,
        scheduler: str | None = None,
        image_size: int | None = None,
        batch_size: BatchSize = DEFAULT_BATCH_SIZE,
        device: str | None = None,
        dtype: str | None = None,
        output: FolderName | None = None,
        reporter: Reporter | None = None,
    ) -> list[Image.Image]:
        """Sample pictures, as ``esdctl sample`` does; what is left out has that command's default.

        Args:
            prompts: at least one.
            seeds: each prompt is sampled with each of them.
            guidance: the guidance scale.
            steps: of the scheduler.
            scheduler: ``ddim``, ``dpmsolver++`` or ``unipc``.
            image_size: the side in pixels, a multiple of 8.
            batch_size: pictures at once, or ``auto``; changes no picture.
            device: ``cpu``, ``cuda:0``, ``mps``; else the best one. The model stays in its memory.
            dtype: ``fp32``, ``bf16`` or ``fp16``; else bf16 on CUDA, fp32 elsewhere.
            output: a folder for the PNG files and ``pictures.jsonl``; None writes nothing.
            reporter: told of the progress; None for stderr.

        Returns:
            The pictures, by prompt, then by seed; RGB.

        Raises:
            UsageError: a setting is out of range, or there is no prompt.
            DeviceError: no such device, or its memory does not suffice.
            Interrupted: Ctrl-C; finished pictures stay in ``output``.
        """
        if not prompts:
            raise UsageError("no prompts", 'give one: sample("A Dogs image.")')
        given = {
            "seeds": (seeds,) if isinstance(seeds, int) else seeds and tuple(seeds),
            "guidance": guidance,
            "steps": steps,
            "scheduler": scheduler and parse_scheduler(scheduler),
            "image_size": image_size,
        }
        known: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        plan = plan_pictures(self.files, prompts_from(prompts), SamplingSettings(**known))
        plan = plan.in_dtype(dtype_for(dtype, device))
        with reporting(reporter) as events:
            if output is None:
                model = self._load(device, plan.pictures[0].dtype)
                pixels = sample_in_memory(model, plan.pictures, events, batch_size)
                return [Image.fromarray(picture) for picture in pixels]
            folder = user_path(Path(output))
            make_pictures(
                plan, folder, lambda: self._load(device, plan.pictures[0].dtype), batch_size,
                events, lambda row: None,
            )  # fmt: skip
        return [opened(folder / picture.file) for picture in plan.pictures]

    def pipeline(self, device: str | None = None) -> Any:
        """diffusers' pipeline with the erasure in place: ``StableDiffusionPipeline``, or SDXL's.

        Its modules are its own: moving or changing them changes nothing else. It has no safety
        checker, computes in fp32, and samples by DDIM as ``sample`` does.

        Args:
            device: as in ``sample``.

        Raises:
            DeviceError: no such device, or its memory does not suffice.
        """
        return as_diffusers_pipeline(load(self.files, find_device(device)))

    def evaluate(
        self,
        *,
        concept: str | Iterable[str] | None = None,
        seeds: Iterable[int] | None = None,
        styles: Iterable[str] | None = None,
        objects: Iterable[str] | None = None,
        batch_size: BatchSize = DEFAULT_BATCH_SIZE,
        device: str | None = None,
        output: FolderName | None = None,
        reporter: Reporter | None = None,
        **settings: Any,
    ) -> EvaluationReport:
        """Measure UA, IRA and CRA beside the base's, as ``esdctl evaluate`` does.

        Args:
            concept: the target, or several; else all that were erased.
            seeds: each style x object is sampled once with each of them.
            styles, objects: restrict the grid to these.
            batch_size, device, reporter: as in ``sample``.
            output: where predictions are kept; else ``outputs/evaluations`` of the workspace.
            settings: ``steps``, ``guidance``, ``scheduler``, ``dtype``, ``protocol`` and
                ``judge``, as the command's.

        Returns:
            The first judge's report; ``report.document()`` is what ``--json`` prints.

        Raises:
            UsageError: the classifier does not know the concept, or a setting is out of range.
            InputError: no classifier fits the model.
            Interrupted: Ctrl-C; the pictures judged so far are kept.
        """
        concepts = (concept,) if isinstance(concept, str) else concept
        given = {"concepts": concepts, "seeds": seeds, "styles": styles, "objects": objects}
        chosen: dict[str, Any] = {
            key: tuple(value) for key, value in given.items() if value is not None
        }
        judge, dtype = settings.pop("judge", None), settings.pop("dtype", None)
        judges = tuple(judge.split(",")) if judge else ()
        request = Request(**chosen, **settings, judges=judges)
        plan = plan_evaluation(self.files, request, self.workspace.models)
        plan = plan.in_dtype(dtype_for(dtype, device))
        folder = user_path(Path(output)) if output else self.workspace.outputs / "evaluations"
        with reporting(reporter) as events:
            execution = Execution(folder, find_device(device), batch_size)
            return run_evaluation(plan, execution, events)[0]

    def _load(self, device: str | None, dtype: str) -> StableDiffusion:
        place = find_device(device)
        key = f"{place} {dtype}"
        if key not in self._loaded:
            self._loaded[key] = load(self.files, place, DTYPES[dtype])
        return self._loaded[key]


def open_model(
    name: str | Path = "pocket",
    root: FolderName | None = None,
    base: str | None = None,
    pipeline: str | Path | None = None,
) -> Model:
    """A model by whatever ``--model`` takes: a name, a checkpoint, a folder, a delta, a LoRA.

    Args:
        name: of the model.
        root: the workspace; else ``ESDCTL_ROOT``, else the current folder.
        base: what a delta or LoRA stands on, where it does not say so itself.
        pipeline: a pipeline folder that supplies what a file with a transformer alone lacks.

    Raises:
        InputError: there is no such model, or a part of it is missing.
        IntegrityError: a file is damaged, or a delta was made from another base.
    """
    workspace = find_workspace(as_path(root))
    supplier = None if pipeline is None else str(pipeline)
    return Model(resolve_model(str(name), workspace, base=base, supplier=supplier), workspace)


def evaluate(model: Model | str | Path, **settings: Any) -> EvaluationReport:
    """``model.evaluate(...)``, for a model or run by its name too."""
    return (model if isinstance(model, Model) else open_model(model)).evaluate(**settings)


def as_path(name: FolderName | None) -> Path | None:
    return None if name is None else user_path(Path(name))


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")
