"""``--method edit``: from the model's files to the edited keys and values, and nothing else read.

No U-Net is built. Of its files the selected tensors alone are read, and the text encoder leaves the
memory before they are. ``edit_before_training`` edits a student in the same way.
"""

import json
import time
from dataclasses import replace

import torch

from esdctl.erasing.editing.closed_form import (
    MATRICES,
    edit_keys_and_values,
    edit_matrices,
    rule_of,
)
from esdctl.erasing.editing.kept_corpus import keep_corpus
from esdctl.erasing.esd.prepare import Prepared, embeddings_of
from esdctl.erasing.plan import ErasePlan
from esdctl.erasing.run_folder import RunFolder
from esdctl.erasing.train_methods import select
from esdctl.models.resolve import overlaid
from esdctl.models.stable_diffusion import load
from esdctl.models.text import cut_prompts
from esdctl.progress import Reporter
from esdctl.storage.atomic import append_jsonl, write_json


def edit_alone(
    plan: ErasePlan, run: RunFolder, device: torch.device, reporter: Reporter
) -> dict[str, torch.Tensor]:
    """Edit a model's keys and values in closed form.

    Args:
        plan: of an erasure whose method is ``edit``.
        run: its folder; the log gets a row if it is new.
        device: where the text encoder runs.
        reporter: told of what was edited.

    Returns:
        The tensors that the train method selects, under diffusers' names, float32, on the CPU.

    Raises:
        InputError, IntegrityError: a file is damaged, or does not fit.
    """
    began = time.perf_counter()
    model = load(replace(plan.pipeline), device)
    for note in cut_prompts(model, (*plan.concept.prompts, *plan.concept.retained)):
        reporter.warning(note)
    side = plan.config.image_size or model.image_size
    embeddings = embeddings_of(plan.pipeline, device, plan.concept, side)
    corpus = _corpus(plan, run, device, reporter)
    tensors = _selected(plan)
    edited = [tensor for name, tensor in tensors.items() if name.endswith(MATRICES)]
    edit_matrices(edited, embeddings, rule_of(plan.config, corpus, len(plan.concept.each)))
    seconds = round(time.perf_counter() - began, 4)
    reporter.notice(f"edit: {len(edited)} matrices in {seconds:.2f} s")
    _log(run, len(edited), seconds)
    return tensors


def edit_before_training(
    ready: Prepared, plan: ErasePlan, run: RunFolder, reporter: Reporter
) -> None:
    """Edit the student before its first step; a resumed checkpoint replaces what this gives.

    Args:
        ready: the student and all embeddings.
        plan: of the erasure.
        run: its folder; the log gets a row if it is new.
        reporter: told what was edited.
    """
    began = time.perf_counter()
    corpus = _corpus(plan, run, ready.student.device, reporter)
    rule = rule_of(plan.config, corpus, len(plan.concept.each))
    count = edit_keys_and_values(ready.student, ready.embeddings, rule)
    seconds = round(time.perf_counter() - began, 4)
    reporter.notice(f"warm start: {count} matrices edited in {seconds:.2f} s")
    _log(run, count, seconds)


def _log(run: RunFolder, count: int, seconds: float) -> None:
    if not run.log.exists():
        append_jsonl(run.log, {"step": 0, "warm_start": count, "seconds": seconds})


def _corpus(
    plan: ErasePlan, run: RunFolder, device: torch.device, reporter: Reporter
) -> torch.Tensor | None:
    """The second moment of the corpus that is kept; the run's record says what was left out."""
    if not plan.config.corpus:
        return None
    model = load(replace(plan.pipeline), device)
    names = [part.name.replace("_", " ") for part in plan.concept.each]
    kept = keep_corpus(model, names, reporter)
    if kept.left_out:
        reporter.notice(f"not kept, since near the concept: {', '.join(kept.left_out)}")
    if run.record.exists():
        record = json.loads(run.record.read_bytes())
        write_json(run.record, {**record, "corpus": kept.document()})
    return kept.moment


def _selected(plan: ErasePlan) -> dict[str, torch.Tensor]:
    """Copies of the tensors that the train method selects, in fp32."""
    pipeline = replace(plan.pipeline)  # mapped pages stay in memory as long as their file is open
    unet = pipeline.files.read(pipeline.files.denoiser)
    values = overlaid(pipeline.changed(), unet)
    names = select(plan.config.train_method, list(unet), pipeline.files.architecture.family)
    return {name: values[name].to(torch.float32, copy=True) for name in names}
