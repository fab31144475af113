"""Which pictures are judged, for which target."""

from dataclasses import replace
from pathlib import Path

import pytest

from esdctl.checkpoints.changes.delta import read_delta, write_delta
from esdctl.errors import InputError, UsageError
from esdctl.evaluation.judgements import JudgingSettings
from esdctl.evaluation.metrics.accuracy import ErasedConcept
from esdctl.evaluation.plan import plan_evaluation
from esdctl.evaluation.request import Request
from esdctl.models.resolve import Pipeline


def test_every_style_meets_every_object_with_its_own_seed(base: Pipeline) -> None:
    plan = plan_evaluation(base, Request(seeds=(188, 3)))
    assert [(case.style, case.object, case.picture.seed) for case in plan.cases[:3]] == [
        ("Mosaic", "Cats", 1_880_000),
        ("Mosaic", "Cats", 30_000),
        ("Mosaic", "Dogs", 1_880_001),
    ]
    assert len({case.picture.seed for case in plan.cases}) == len(plan.cases) == 8


def test_a_restricted_grid_holds_the_same_pictures(base: Pipeline) -> None:
    whole = plan_evaluation(base, Request())
    part = plan_evaluation(base, Request(styles=("neon lines",), objects=("Dogs",)))
    assert part.cases == whole.cases[-1:]


def test_a_base_has_no_target(base: Pipeline) -> None:
    assert plan_evaluation(base, Request()).targets == ()
    assert plan_evaluation(base, Request(("dogs",))).targets == (ErasedConcept("object", "Dogs"),)


def test_the_run_names_its_target(erased: Pipeline) -> None:
    assert plan_evaluation(erased, Request()).targets == (ErasedConcept("style", "Neon_Lines"),)
    assert plan_evaluation(erased, Request(("Cats",))).targets == (ErasedConcept("object", "Cats"),)


def test_a_run_without_a_concept_asks_for_one(erased: Pipeline, tmp_path: Path) -> None:
    assert erased.delta is not None
    write_delta(tmp_path / "delta.safetensors", read_delta(erased.delta), {})
    with pytest.raises(UsageError) as caught:
        plan_evaluation(Pipeline("x", erased.folder, tmp_path / "delta.safetensors"), Request())
    assert "--concept" in caught.value.hint


def test_an_unknown_concept_is_answered_with_the_nearest(base: Pipeline) -> None:
    with pytest.raises(UsageError, match="no concept 'Neon_Line'") as caught:
        plan_evaluation(base, Request(("Neon_Line",)))
    assert "Neon_Lines" in caught.value.hint


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (Request(steps=0), "--steps"),
        (Request(steps=1001), "--steps"),
        (Request(steps=501, scheduler="unipc"), "--steps"),
        (Request(guidance=-1.0), "--guidance"),
        (Request(guidance=float("nan")), "--guidance"),
        (Request(seeds=(2**62,)), "--seeds"),
        (Request(styles=("Dogs",)), "no style 'Dogs'"),
        (Request(("Mosaic",), styles=("Neon_Lines",)), "target Mosaic is not among"),
    ],
)
def test_senseless_requests_are_refused(base: Pipeline, request_: Request, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        plan_evaluation(base, request_)


def test_a_model_without_a_classifier_is_refused(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="no classifier"):
        plan_evaluation(Pipeline("tiny", tiny_model), Request())


def test_a_damaged_classifier_is_an_input_error(base: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "classifier").mkdir()
    (tmp_path / "classifier/model.safetensors").write_bytes(b"no safetensors file")
    with pytest.raises(InputError, match="cannot read the classifier"):
        plan_evaluation(Pipeline("x", tmp_path), Request())


def test_another_scheduler_is_another_protocol_and_ddim_keeps_its_name() -> None:
    ddim = JudgingSettings("c" * 64, 25, 3.0, 128)
    assert "scheduler" not in ddim.document()  # so that older predictions are found
    assert JudgingSettings("c" * 64, 25, 3.0, 128, "unipc").digest != ddim.digest
    assert "dtype" not in ddim.document()
    in_bf16 = replace(ddim, dtype="bf16")
    assert in_bf16.digest != ddim.digest
    assert in_bf16.sampling_digest != ddim.sampling_digest
