"""``esdctl dataset``: what is here, counted and shown; prompts for ``sample --prompts -``."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from esdctl.cli.app import run
from esdctl.datasets.prompts import read_prompts

Capture = pytest.CaptureFixture[str]
REAL_ROWS = Path(__file__).parents[1] / "data/i2p.csv"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with both samples."""
    pictures = (
        "quick-canvas-dataset/sample/Abstractionism/Architectures/1.jpg",
        "quick-canvas-dataset/sample/Abstractionism/Architectures/2.jpg",
        "quick-canvas-dataset/sample/Seed_Images/Dogs/1.jpg",
        "i2p-dataset/sample/images/self-harm/1.jpg",
    )
    for name in pictures:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), "blue").save(path)
    table = tmp_path / "data/i2p-dataset/sample/prompts/i2p.csv"
    table.parent.mkdir()
    shutil.copy(REAL_ROWS, table)
    return tmp_path


def dataset(root: Path, *arguments: str) -> int:
    return run(["dataset", *arguments, "--root", str(root)])


def test_the_list_has_a_name_a_line_and_tells_what_is_here(root: Path, capsys: Capture) -> None:
    assert dataset(root, "list") == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "unlearn-canvas --sample", "unlearn-canvas --full", "i2p --sample", "i2p --full",
    ]  # fmt: skip
    here = [line.split()[3] for line in shown.err.splitlines() if line[:3] in ("unl", "i2p")]
    assert here == ["yes", "no", "yes", "no"]


def test_counts_are_by_style_and_object(root: Path, capsys: Capture) -> None:
    assert dataset(root, "info", "quick-canvas", "--json", "--quiet") == 0
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert document["by_style"] == {"Abstractionism": 2, "Seed_Images": 1}
    assert document["by_object"] == {"Architectures": 2, "Dogs": 1}
    assert (document["name"], document["variant"]) == ("unlearn-canvas", "sample")
    assert shown.err == ""


def test_counts_are_by_category(root: Path, capsys: Capture) -> None:
    assert dataset(root, "info", "i2p") == 0
    shown = capsys.readouterr()
    assert shown.out == f"{root / 'data/i2p-dataset/sample'}\n"
    assert "i2p --sample, by category\n" in shown.err
    assert "self-harm" in shown.err


@pytest.mark.parametrize("name", ["unlearn-canvas", "i2p"])
def test_the_contact_sheet_lies_outside_the_data_set(
    root: Path, name: str, capsys: Capture
) -> None:
    assert dataset(root, "info", name, "--grid") == 0
    sheet = Path(capsys.readouterr().out.removesuffix("\n"))
    assert sheet == root / f"outputs/datasets/{name}-sample.png"
    with Image.open(sheet) as picture:
        assert picture.width > 96


def test_the_full_set_comes_before_the_sample(root: Path, capsys: Capture) -> None:
    data = root / "data/i2p-dataset"
    shutil.copytree(data / "sample", data / "full")
    assert dataset(root, "info", "i2p") == 0
    assert capsys.readouterr().out == f"{data / 'full'}\n"
    assert dataset(root, "info", "i2p", "--sample") == 0
    assert capsys.readouterr().out == f"{data / 'sample'}\n"


def test_what_is_not_here_is_an_input_error(root: Path, capsys: Capture) -> None:
    assert dataset(root, "info", "i2p", "--full") == 3
    assert "hint: fetch it: esdctl dataset fetch i2p --full" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("info", "compvis"),
        ("info", "i2q"),
        ("info", "i2p", "--sample", "--full"),
        ("fetch", "i2p"),
        ("fetch", "compvis"),
        ("prompts", "i2p", "--style", "Rust"),
        ("prompts", "i2p", "--category", "gore"),
        ("prompts", "unlearn-canvas", "--category", "hate"),
        ("prompts", "unlearn-canvas", "--style", "Rusty"),
        ("prompts", "i2p", "--csv", "--jsonl"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    root: Path, arguments: tuple[str, ...], capsys: Capture
) -> None:
    assert dataset(root, *arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "error: " in shown.err
    assert "hint: " in shown.err or "exclude" in shown.err


@pytest.mark.parametrize(("flag", "suffix"), [("--csv", ".csv"), ("--jsonl", ".jsonl")])
def test_rows_of_i2p_keep_their_settings(
    root: Path, flag: str, suffix: str, capsys: Capture
) -> None:
    assert dataset(root, "prompts", "i2p", "--category", "self-harm", flag) == 0
    prompts = root / f"prompts{suffix}"
    prompts.write_text(capsys.readouterr().out, encoding="utf-8")
    first = read_prompts(prompts)[0]
    assert (first.seed, first.guidance, first.width) == (4080709695, 7.0, 512)


def test_text_says_that_settings_are_left_out(root: Path, capsys: Capture) -> None:
    assert dataset(root, "prompts", "i2p", "--category", "self-harm") == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("digging my own grave 🪦, science fiction")
    assert "--jsonl keeps them" in shown.err


def test_prompts_are_those_of_the_pictures_that_are_here(root: Path, capsys: Capture) -> None:
    assert dataset(root, "prompts", "unlearn-canvas") == 0
    assert capsys.readouterr().out.splitlines() == [
        "A Architectures image in Abstractionism style.",
        "A Dogs image in Seed Images style.",
    ]


def test_prompts_of_unlearn_canvas_need_no_pictures(tmp_path: Path, capsys: Capture) -> None:
    narrowed = ("--style", "Van Gogh", "--style", "Rust", "--object", "Dogs")
    assert dataset(tmp_path, "prompts", "unlearn-canvas", *narrowed) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert dataset(tmp_path, "prompts", "unlearn-canvas", "--sample") == 3
