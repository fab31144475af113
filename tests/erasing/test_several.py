"""Several concepts erased at once: how they are named, and what each counts for."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from esdctl.checkpoints.changes.delta import read_delta_metadata
from esdctl.checkpoints.safetensors.metadata import ErasedName, erased_names
from esdctl.erasing.plan import ErasePlan, plan_erase
from esdctl.erasing.request import EraseRequest
from esdctl.errors import InputError, UsageError
from esdctl.storage.workspace import Workspace

Train = Callable[..., int]


def planned(folder: Path, **flags: object) -> ErasePlan:
    return plan_erase(EraseRequest({"model": "pocket", **flags}), Workspace(folder))


def test_a_file_of_names_and_repeated_names_are_the_same_erasure(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("Dogs\n# a comment\n\nvan gogh  # a style\n")
    listed = planned(tmp_path, concepts=tmp_path / "names.txt")
    named = planned(tmp_path, concept=["Dogs", "Van_Gogh"])
    assert listed.concept == named.concept
    assert [part.name for part in named.concept.parts] == ["Dogs", "Van_Gogh"]
    assert [part.template for part in named.concept.parts] == ["object", "style"]
    assert "A Dogs image." in named.concept.prompts
    assert "Van Gogh style" in named.concept.prompts
    assert not any("Dogs" in text or "Van Gogh" in text for text in named.concept.retained)


def test_each_concept_is_as_likely_to_be_drawn(tmp_path: Path) -> None:
    table = 'name,prompt\nDogs,a dog\nCats,\nteapot,"a teapot, hot"\n'
    (tmp_path / "names.csv").write_text(table)
    concept = planned(tmp_path, concepts=tmp_path / "names.csv").concept
    owner = {text: part.name for part in concept.parts for text in part.prompts}
    counts = Counter(owner[text] for text in concept.prompts)
    assert set(counts) == {"Dogs", "Cats", "teapot"}
    assert len(set(counts.values())) == 1


def test_each_may_be_erased_from_a_prompt_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("name,erase_from\nDogs,an animal\nMosaic,a picture\n")
    plan = planned(tmp_path, concepts=tmp_path / "own.csv")
    pairs = set(zip(plan.concept.prompts, plan.concept.sources, strict=True))
    assert ("A Dogs image.", "an animal") in pairs
    assert ("Mosaic style", "a picture") in pairs
    (tmp_path / "own.csv").write_text("name,erase_from\nDogs,an animal\nMosaic,a wall\n")
    assert planned(tmp_path, concepts=tmp_path / "own.csv").digest != plan.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Dogs\nDogs\n", "erased twice"),
        ("", "names no concept"),
        ("Dgs\n", "Dogs"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises((UsageError, InputError)) as caught:
        planned(tmp_path, concepts=tmp_path / "names.txt")
    assert said in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nam\nDogs\n", "unknown column 'nam'"),
        ("name,prompt\nDogs,a,b\n", "line 2: too many cells"),
        ("name,erase_from\nDogs,an animal\nCats,\n", "Cats is erased from no other prompt"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text(text)
    with pytest.raises((UsageError, InputError), match=said):
        planned(tmp_path, concepts=tmp_path / "names.csv")


def test_a_delta_of_several_names_each_with_its_kind(train: Train, tmp_path: Path) -> None:
    edit = ("--method", "edit", "--iterations", "0", "--no-corpus")
    assert train(*edit, "--concept", "Mosaic", "--concept", "Dogs", "--output", "run") == 0
    about = read_delta_metadata(tmp_path / "run/delta.safetensors")
    assert erased_names(about) == (ErasedName("Mosaic", "style"), ErasedName("Dogs", "object"))
    record = json.loads((tmp_path / "run/run.json").read_bytes())
    assert [part["name"] for part in record["concept"]["parts"]] == ["Mosaic", "Dogs"]
    assert train("--resume", "run") == 0
