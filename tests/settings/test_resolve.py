"""Settings come in layers; each value knows its origin, each mistake its place."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from esdctl.errors import UsageError
from esdctl.settings.resolve import Layer, Resolved, read_environment, resolve
from esdctl.settings.setting import Setting
from esdctl.settings.yaml_file import read_yaml


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    concept: Annotated[str, Setting("")]
    train_method: Annotated[Literal["xattn", "noxattn", "full"], Setting("")] = "xattn"
    iterations: Annotated[int, Field(ge=1), Setting("")] = 100
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False), Setting("")] = 1e-4
    separator: Annotated[str | None, Setting("")] = ","
    retain: Annotated[tuple[str, ...], Setting("")] = ()


def resolved(
    tmp_path: Path,
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    yaml: str = "",
    preset: Mapping[str, object] | None = None,
) -> Resolved[Config]:
    file = tmp_path / "train.yaml"
    file.write_text(yaml)
    layers = [
        Layer("preset pocket", preset or {}),
        Layer(f"file {file}", read_yaml(file)),
        *read_environment(Config, "train", environment or {}),
        Layer("flag", {"concept": "Dogs"} if flags is None else flags),
    ]
    return resolve(Config, layers)


def test_each_layer_covers_the_one_below(tmp_path: Path) -> None:
    flags = {"concept": "Dogs"}
    environment = {"ESDCTL_TRAIN_LR": "0.2", "ESDCTL_TRAIN_CONCEPT": "Cats", "HOME": "/"}
    yaml = "lr: 0.3\niterations: 30\nconcept: Frogs"
    preset = {"lr": 0.4, "iterations": 40, "train_method": "full"}
    result = resolved(tmp_path, flags, environment, yaml, preset)
    assert result.value == Config(concept="Dogs", lr=0.2, iterations=30, train_method="full")
    assert result.origins == {
        "concept": "flag",
        "lr": "environment ESDCTL_TRAIN_LR",
        "iterations": f"file {tmp_path / 'train.yaml'}",
        "train_method": "preset pocket",
        "separator": "default",
        "retain": "default",
    }


def test_a_number_that_yaml_reads_as_text_is_a_number(tmp_path: Path) -> None:
    assert resolved(tmp_path, yaml="lr: 1e-5").value.lr == 1e-5


def test_null_in_the_file_covers_the_default(tmp_path: Path) -> None:
    assert resolved(tmp_path, yaml="separator: null").value.separator is None


def test_an_empty_file_and_an_empty_variable_say_nothing(tmp_path: Path) -> None:
    result = resolved(tmp_path, environment={"ESDCTL_TRAIN_LR": ""}, yaml="")
    assert result.origins["lr"] == "default"


def test_a_list_in_the_environment_is_separated_by_commas(tmp_path: Path) -> None:
    result = resolved(tmp_path, environment={"ESDCTL_TRAIN_RETAIN": "Dogs, Sea"})
    assert result.value.retain == ("Dogs", "Sea")


def test_an_unknown_key_in_the_file_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"train\.yaml: unknown key iteration$") as caught:
        resolved(tmp_path, yaml="iteration: 3")
    assert caught.value.hint == "did you mean iterations?"


def test_an_unknown_variable_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ESDCTL_TRAIN_ITERATION$") as caught:
        resolved(tmp_path, environment={"ESDCTL_TRAIN_ITERATION": "3"})
    assert caught.value.hint == "did you mean ESDCTL_TRAIN_ITERATIONS?"


def test_a_key_like_no_other_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        resolved(tmp_path, yaml="zzz: 3")
    assert "known: concept, iterations, lr" in caught.value.hint


@pytest.mark.parametrize(
    ("flag", "environment", "yaml", "message"),
    [
        (0, "", "", "iterations = 0 (flag): must be greater than or equal to 1"),
        (
            None,
            "-3",
            "",
            "iterations = '-3' (environment ESDCTL_TRAIN_ITERATIONS): "
            "must be greater than or equal to 1",
        ),
        (None, "", "iterations: 2.5", "iterations = 2.5 (file {file}): must be a valid integer"),
    ],
)
def test_a_bad_value_tells_key_value_origin_and_what_is_allowed(
    flag: int | None, environment: str, yaml: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        resolved(
            tmp_path,
            {"concept": "Dogs"} if flag is None else {"concept": "Dogs", "iterations": flag},
            {"ESDCTL_TRAIN_ITERATIONS": environment},
            yaml,
        )
    assert caught.value.message.startswith(message.format(file=tmp_path / "train.yaml"))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_that_are_none_are_refused(number: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lr = '?-?(nan|inf)"):
        resolved(tmp_path, environment={"ESDCTL_TRAIN_LR": number})
    with pytest.raises(UsageError, match=r"lr = -?(nan|inf)"):
        resolved(tmp_path, {"concept": "Dogs", "lr": float(number)})


def test_a_misspelt_choice_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be 'xattn', 'noxattn' or 'full'") as caught:
        resolved(tmp_path, yaml="train_method: xatn")
    assert caught.value.hint == "did you mean xattn?"


def test_all_bad_values_stand_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"iterations = 0 .*; lr = 0 "):
        resolved(tmp_path, {"concept": "Dogs", "iterations": 0, "lr": 0})


def test_a_missing_value_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^concept is missing$"):
        resolved(tmp_path, {})


def test_a_value_that_fits_no_part_of_a_union_is_one_finding() -> None:
    class Batch(BaseModel):
        batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = 1

    def batch(value: str) -> Resolved[Batch]:
        return resolve(Batch, [Layer("flag", {"batch_size": value})])

    assert batch("auto").value.batch_size == "auto"
    assert batch("4").value.batch_size == 4
    with pytest.raises(UsageError) as caught:
        batch("aut")
    assert caught.value.message.count("batch_size") == 1
    assert caught.value.message.endswith(" or 'auto'")
    assert caught.value.hint == "did you mean auto?"
