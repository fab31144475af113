"""The plan says which pictures are made before any is."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from esdctl.datasets.prompt_row import PromptRow
from esdctl.errors import InputError, UsageError
from esdctl.models.named import POCKET
from esdctl.models.resolve import Pipeline
from esdctl.sampling.defaults import default_guidance
from esdctl.sampling.plan import Picture, SamplePlan, SamplingSettings, parse_seeds, plan_pictures


@pytest.fixture
def pipeline(tiny_model: Path) -> Pipeline:
    return Pipeline("tiny", tiny_model)


def test_each_row_is_made_with_each_seed(pipeline: Pipeline) -> None:
    rows = [PromptRow("a dog"), PromptRow("a cat")]
    plan = plan_pictures(pipeline, rows, SamplingSettings(seeds=(188, 288)))
    assert [picture.file for picture in plan.pictures] == [
        "00000-188.png",
        "00000-288.png",
        "00001-188.png",
        "00001-288.png",
    ]
    assert plan.pictures[3] == Picture("00001-288.png", "a cat", 288, 7.5, 25, 64, 64)


def test_a_row_has_its_own_settings_unless_the_user_names_others(pipeline: Pipeline) -> None:
    row = PromptRow("a dog", seed=7, guidance=2.0, width=64, height=128)
    own = plan_pictures(pipeline, [row], SamplingSettings(steps=3)).pictures
    assert own == (Picture("00000-7.png", "a dog", 7, 2.0, 3, 64, 128),)
    named = plan_pictures(pipeline, [row], SamplingSettings((1,), 0.0, 3, image_size=32)).pictures
    assert named == (Picture("00000-1.png", "a dog", 1, 0.0, 3, 32, 32),)


def test_the_label_changes_with_the_plan_and_the_model() -> None:
    picture = Picture("00000-1.png", "a dog", 1, 3.0, 5, 64, 64)
    plan = SamplePlan("/runs/van gogh/delta.safetensors", "aa", (picture,))
    assert plan.label.startswith("van-gogh-")
    other_seed = replace(plan, pictures=(replace(picture, seed=2),))
    other_model = replace(plan, digest="bb")
    assert len({plan.label, other_seed.label, other_model.label}) == 3
    assert replace(plan).label == plan.label


def test_pocket_has_a_guidance_of_its_own(pipeline: Pipeline) -> None:
    assert default_guidance(Pipeline("pocket", POCKET)) == 3.0
    assert default_guidance(pipeline) == 7.5


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (SamplingSettings(steps=0), "--steps is 0"),
        (SamplingSettings(steps=1001), "--steps is 1001"),
        (SamplingSettings(guidance=math.nan), "--guidance is nan"),
        (SamplingSettings(guidance=math.inf), "--guidance is inf"),
        (SamplingSettings(guidance=-1.0), "--guidance is -1"),
        (SamplingSettings(image_size=100), "--image-size is 100"),
        (SamplingSettings(image_size=0), "--image-size is 0"),
        (SamplingSettings(image_size=512), "pictures of 512 pixels do not suit a model .* on 64"),
        (SamplingSettings(image_size=8), "pictures of 8 pixels do not suit"),
        (SamplingSettings(seeds=(2**63,)), "seed 9223372036854775808 is out of range"),
        (SamplingSettings(seeds=(-1,)), "seed -1 is out of range"),
    ],
)
def test_a_setting_out_of_range_is_a_usage_error(
    settings: SamplingSettings, complaint: str, pipeline: Pipeline
) -> None:
    with pytest.raises(UsageError, match=complaint):
        plan_pictures(pipeline, [PromptRow("a dog")], settings)


def test_a_rows_size_that_was_meant_for_another_model_does_not_count_and_is_said(
    pipeline: Pipeline,
) -> None:
    rows = [PromptRow("a dog", width=512, height=768), PromptRow("a cat", width=128, height=64)]
    plan = plan_pictures(pipeline, rows, SamplingSettings())
    assert [(p.width, p.height) for p in plan.pictures] == [(64, 64), (128, 64)]
    assert plan.notes == (
        "rows that ask for pictures of 768 pixels get 64, which the model was trained on; "
        "--image-size has the last word",
    )


def test_what_rows_say_and_a_flag_beats_is_said_once(pipeline: Pipeline) -> None:
    rows = [
        PromptRow("a dog", seed=7, guidance=2.0, width=64, extra={"style": "Rust", "lr": "1"}),
        PromptRow("a cat", seed=8, guidance=5.0),
    ]
    asked = SamplingSettings(seeds=(7,), guidance=5.0, image_size=32)
    assert plan_pictures(pipeline, rows, asked).notes == (
        "--seeds counts for all pictures: another value in a row is not used",
        "--guidance counts for all pictures: another value in a row is not used",
        "--image-size counts for all pictures: another value in a row is not used",
        "columns that are not used: lr",
    )
    assert plan_pictures(pipeline, [PromptRow("a dog", seed=7)], SamplingSettings()).notes == ()


def test_a_model_that_does_not_say_its_size_is_an_input_error(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    config = json.loads((folder / "vae/config.json").read_text())
    del config["block_out_channels"]
    (folder / "vae/config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="picture size of broken"):
        plan_pictures(Pipeline("broken", folder), [PromptRow("a dog")], SamplingSettings())


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("188", (188,)),
        ("188,288", (188, 288)),
        ("0-3", (0, 1, 2, 3)),
        (" 5, 0-2 ,1", (5, 0, 1, 2)),
        (str(2**63 - 1), (2**63 - 1,)),
    ],
)
def test_seeds_are_lists_and_ranges(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1,,2", "-3", "1-2-3", "9-0", "0-999999", "9" * 30])
def test_what_names_no_seeds_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--seeds"):
        parse_seeds(text)


def test_more_pictures_than_a_plan_can_list_are_refused_before_they_are_listed(
    pipeline: Pipeline,
) -> None:
    rows = [PromptRow("a dog")] * 1001
    with pytest.raises(UsageError, match="1,001,000 pictures are more than 1,000,000"):
        plan_pictures(pipeline, rows, SamplingSettings(seeds=tuple(range(1000))))
