"""Judges are found by their files, and chosen by what is there."""

from pathlib import Path

import pytest

from esdctl.cli.evaluate import JudgeOption
from esdctl.errors import InputError, UsageError
from esdctl.evaluation.judges.find import find_classifier, known_judges, parse_classifier
from esdctl.models.resolve import Pipeline


def test_every_judge_of_the_folder_is_offered_and_the_models_own_comes_first() -> None:
    assert list(known_judges()) == ["pocket", "style50"]
    (option,) = JudgeOption.__metadata__  # type: ignore[attr-defined]
    assert all(name in option.help for name in known_judges())


def test_a_judge_is_named_in_any_case() -> None:
    assert parse_classifier("Style50") == "style50"
    with pytest.raises(UsageError, match="--judge is 'clip'"):
        parse_classifier("clip")


def test_a_models_own_judge_is_taken_unless_another_is_named(
    base: Pipeline, tmp_path: Path
) -> None:
    assert find_classifier(base, tmp_path, None).name == "pocket"
    with pytest.raises(InputError, match="style50 is not here"):
        find_classifier(base, tmp_path, "style50")


def test_without_any_judge_all_that_is_missing_is_said(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no classifier of its own.*style50 is not here"):
        find_classifier(Pipeline("tiny", tiny_model), tmp_path, None)
