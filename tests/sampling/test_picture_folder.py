"""A folder of pictures: true rows, resumed to the same bytes, never mixed with other pictures."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from esdctl.errors import Interrupted, StorageError, UsageError
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.progress import Silent
from esdctl.sampling.pictures import Row, make_pictures, write_contact_sheet
from esdctl.sampling.plan import SamplePlan
from esdctl.storage.atomic import read_jsonl
from tests.storage import small_disk

Make = Callable[..., list[Row]]


@pytest.fixture
def make(model: StableDiffusion, plan: SamplePlan) -> Make:
    """Make the plan's pictures in a folder."""

    def make_with(
        folder: Path, plan: SamplePlan = plan, show: Callable[[Row], None] = lambda row: None
    ) -> list[Row]:
        return make_pictures(plan, folder, lambda: model, 2, Silent(), show)

    return make_with


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def no_model() -> StableDiffusion:
    raise AssertionError("no picture was missing")


def test_rows_say_what_was_made(make: Make, plan: SamplePlan, tmp_path: Path) -> None:
    rows = make(tmp_path / "out")
    assert [row["file"] for row in rows] == [picture.file for picture in plan.pictures]
    written = {row["file"]: row for row in read_jsonl(tmp_path / "out/pictures.jsonl")}
    for picture in plan.pictures:
        png = tmp_path / "out" / picture.file
        assert written[picture.file] == {
            **picture.document(),
            "model": "tiny",
            "model_digest": plan.digest,
            "sha256": hashlib.sha256(png.read_bytes()).hexdigest(),
        }
        assert Image.open(png).size == (picture.width, picture.height)


def test_equal_plans_give_equal_bytes(make: Make, tmp_path: Path) -> None:
    make(tmp_path / "one")
    make(tmp_path / "other")
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_a_finished_folder_needs_no_model(make: Make, plan: SamplePlan, tmp_path: Path) -> None:
    first = make(tmp_path)
    shown: list[Row] = []
    again = make_pictures(plan, tmp_path, no_model, 2, Silent(), shown.append)
    assert again == first == shown


@pytest.mark.parametrize("finished", [0, 1, 5])
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    finished: int, make: Make, tmp_path: Path
) -> None:
    shown: list[Row] = []

    def stop(row: Row) -> None:
        if len(shown) == finished:
            raise KeyboardInterrupt
        shown.append(row)

    with pytest.raises(Interrupted, match=f"{finished + 1} of 8 pictures are in"):
        make(tmp_path / "stopped", show=stop)
    assert len(contents(tmp_path / "stopped")) == finished + 1
    make(tmp_path / "stopped")
    make(tmp_path / "whole")
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_a_kill_between_picture_and_row_is_mended(make: Make, tmp_path: Path) -> None:
    make(tmp_path)
    before = contents(tmp_path)
    rows = tmp_path / "pictures.jsonl"
    rows.write_bytes(rows.read_bytes()[:-40])  # the last row is torn
    (tmp_path / ".00000-1.png.elsewhere-1-0.partial.png").write_bytes(b"half")
    make(tmp_path)
    assert contents(tmp_path).items() >= before.items()
    assert len(read_jsonl(rows)) == 8


@pytest.mark.parametrize("damage", ["removed", "changed"])
def test_a_damaged_picture_is_made_again(damage: str, make: Make, tmp_path: Path) -> None:
    make(tmp_path)
    before = contents(tmp_path)
    picture = tmp_path / "00001-2.png"
    if damage == "removed":
        picture.unlink()
    else:
        picture.write_bytes(b"something else")
    make(tmp_path)
    assert contents(tmp_path) == before


def test_more_seeds_join_the_same_folder(make: Make, plan: SamplePlan, tmp_path: Path) -> None:
    make(tmp_path, replace(plan, pictures=plan.pictures[:1]))
    make(tmp_path, replace(plan, pictures=plan.pictures[1:2]))
    assert len(read_jsonl(tmp_path / "pictures.jsonl")) == 2


def test_other_settings_need_another_folder(make: Make, plan: SamplePlan, tmp_path: Path) -> None:
    first = plan.pictures[0]
    make(tmp_path, replace(plan, pictures=(first,)))
    other_steps = replace(plan, pictures=(replace(first, steps=5),))
    with pytest.raises(UsageError, match=r"holds 00000-1\.png made with another steps") as caught:
        make(tmp_path, other_steps)
    assert caught.value.hint == "choose another folder with --output"
    with pytest.raises(UsageError, match="made with another model"):
        make(tmp_path, replace(plan, digest="0" * 64))


def test_a_folder_with_other_things_is_refused(make: Make, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"holds no pictures\.jsonl but holiday\.jpg"):
        make(tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        make(tmp_path / "holiday.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_full_disk_leaves_no_half_picture(make: Make, tmp_path: Path) -> None:
    with small_disk.mounted(tmp_path / "disk") as disk:
        (disk / "other").write_bytes(bytes(32 * 1024))  # room for two pictures or three
        with pytest.raises(StorageError, match="No space left"):
            make(disk / "out")
        assert len(read_jsonl(disk / "out/pictures.jsonl")) >= 1
        for png in (disk / "out").glob("*.png"):
            Image.open(png).load()  # none is cut short
        assert not list((disk / "out").glob(".*"))


def test_the_contact_sheet_lies_beside_the_pictures(
    make: Make, plan: SamplePlan, tmp_path: Path
) -> None:
    make(tmp_path)
    sheet = Image.open(write_contact_sheet(plan, tmp_path))
    assert sheet.width > 2 * 160
    assert sheet.height > 4 * 160
    one_seed = replace(plan, pictures=plan.pictures[::2])
    assert Image.open(write_contact_sheet(one_seed, tmp_path)).width < 3 * 160  # two by two
