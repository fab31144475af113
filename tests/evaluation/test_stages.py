"""sample -> judge -> figures: each can be run alone, and what is there is not made again."""

import json
import shutil
from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.models.resolve import Pipeline

Captured = pytest.CaptureFixture[str]


def evaluate(model: Pipeline, root: Path, *more: str) -> int:
    name = str(model.delta or model.folder)
    return run(["evaluate", "--model", name, "--root", str(root), "--steps", "1", *more])


def test_each_stage_alone_ends_in_the_figures_of_all_at_once(
    erased: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    apart, whole = tmp_path / "apart", tmp_path / "whole"
    assert evaluate(erased, apart, "--stages", "sample", "-q") == 0
    folder = Path(capsys.readouterr().out.strip())
    assert len(list(folder.glob("*.png"))) == 4
    assert not list(apart.rglob("figures"))
    assert evaluate(erased, apart, "--stages", "judge", "-q") == 0
    rows = Path(capsys.readouterr().out.strip())
    assert len(rows.read_text().splitlines()) == 4
    assert evaluate(erased, apart, "--stages", "figures", "--json", "-q") == 0
    first = json.loads(capsys.readouterr().out)
    assert evaluate(erased, whole, "--keep-pictures", "--json", "-q") == 0
    second = json.loads(capsys.readouterr().out)
    for key in ("unlearning", "percent_of_base", "accuracy", "confusion", "collateral"):
        assert first[key] == second[key]


def test_figures_alone_refuse_where_rows_are_missing(
    base: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    assert evaluate(base, tmp_path, "--stages", "figures") == 3
    assert "4 of 4 pictures are not judged" in capsys.readouterr().err


def test_kept_pictures_are_judged_again_without_sampling(
    base: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    assert evaluate(base, tmp_path, "--keep-pictures", "--json", "-q") == 0
    first = json.loads(capsys.readouterr().out)
    Path(first["model"]["rows"]).unlink()  # as for a judge that has not seen them
    pictures = sorted(Path(first["model"]["pictures"]).glob("*.png"))
    made = [path.stat().st_mtime_ns for path in pictures]
    assert evaluate(base, tmp_path, "--keep-pictures", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["accuracy"] == first["accuracy"]
    assert [path.stat().st_mtime_ns for path in pictures] == made
    assert "sampling" not in err


def test_an_unknown_stage_is_a_usage_error(base: Pipeline, tmp_path: Path) -> None:
    assert evaluate(base, tmp_path, "--stages", "paint") == 2


@pytest.fixture
def others(
    erased: Pipeline, tmp_path: Path, capsys: Captured
) -> tuple[Path, Path, dict[str, object]]:
    """Folders as another tool would leave them: pictures alone; and our own figures of them."""
    assert evaluate(erased, tmp_path / "ours", "--keep-pictures", "--json", "-q") == 0
    ours = json.loads(capsys.readouterr().out)
    folders = []
    for key in ("model", "base"):
        folder = tmp_path / f"theirs-{key}"
        folder.mkdir()
        for path in Path(ours[key]["pictures"]).glob("*.png"):
            shutil.copy(path, folder / path.name)
        folders.append(folder)
    return folders[0], folders[1], ours


def judged(
    base: Pipeline, root: Path, pictures: Path, capsys: Captured, *more: str
) -> dict[str, dict[str, object]]:
    line = ["evaluate", "--model", str(base.folder), "--root", str(root)]
    assert (
        run([*line, "--pictures", str(pictures), "--concept", "Neon_Lines", "--json", *more]) == 0
    )
    document: dict[str, dict[str, object]] = json.loads(capsys.readouterr().out)
    return document


def test_pictures_of_another_tool_get_the_same_figures(
    base: Pipeline,
    others: tuple[Path, Path, dict[str, object]],
    tmp_path: Path,
    capsys: Captured,
) -> None:
    pictures, of_base, ours = others
    more = ("--base-pictures", str(of_base))
    theirs = judged(base, tmp_path / "theirs", pictures, capsys, *more)
    for key in ("unlearning", "percent_of_base", "accuracy", "base_accuracy", "confusion"):
        assert theirs[key] == ours[key]
    assert theirs["protocol"]["changes"] == {"pictures": pictures.name}


@pytest.mark.parametrize("form", ["pictures.jsonl", "table.csv", "style-and-object.csv"])
def test_a_table_tells_what_pictures_of_any_name_show(
    form: str,
    base: Pipeline,
    others: tuple[Path, Path, dict[str, object]],
    tmp_path: Path,
    capsys: Captured,
) -> None:
    pictures, _, ours = others
    lines = []
    for index, path in enumerate(sorted(pictures.glob("*.png"))):
        style, thing, _ = path.stem.replace("Neon_Lines", "Neon Lines").split("_")
        path.rename(pictures / f"{index}.png")
        prompt = f"A {thing} image in {style} style."
        if form == "pictures.jsonl":
            lines.append(json.dumps({"file": f"{index}.png", "prompt": prompt}))
        elif form == "table.csv":
            lines.append(f'{index}.png,"{prompt}"')
        else:
            lines.append(f"{index}.png,{style},{thing}")
    head = {"table.csv": "file_name,text", "style-and-object.csv": "file,style,object"}
    (pictures / form).write_text("\n".join([*([head[form]] if form in head else []), *lines]))
    theirs = judged(base, tmp_path / "theirs", pictures, capsys)
    assert theirs["unlearning"] == ours["unlearning"]


def test_a_picture_that_nobody_names_is_refused_by_name(
    base: Pipeline,
    others: tuple[Path, Path, dict[str, object]],
    tmp_path: Path,
    capsys: Captured,
) -> None:
    pictures, _, _ = others
    next(iter(sorted(pictures.glob("*.png")))).rename(pictures / "holiday.png")
    line = ["evaluate", "--model", str(base.folder), "--root", str(tmp_path)]
    assert run([*line, "--pictures", str(pictures)]) == 3
    assert "holiday.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more", [("--steps", "3"), ("--seeds", "1"), ("--scheduler", "unipc"), ("--guidance", "1")]
)
def test_what_says_how_to_sample_is_refused_beside_pictures(
    more: tuple[str, ...], base: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    line = ["evaluate", "--model", str(base.folder), "--pictures", str(tmp_path), *more]
    assert run(line) == 2
    assert more[0] in capsys.readouterr().err


def test_a_missing_folder_of_pictures_is_an_input_error(base: Pipeline, tmp_path: Path) -> None:
    line = ["evaluate", "--model", str(base.folder), "--pictures"]
    assert run([*line, str(tmp_path / "none")]) == 3
    assert run([*line, str(tmp_path)]) == 3  # no picture in it


def test_a_broken_picture_is_named(
    base: Pipeline,
    others: tuple[Path, Path, dict[str, object]],
    tmp_path: Path,
    capsys: Captured,
) -> None:
    pictures, _, _ = others
    broken = min(pictures.glob("*.png"))
    broken.write_bytes(broken.read_bytes()[:60])
    line = ["evaluate", "--model", str(base.folder), "--root", str(tmp_path)]
    assert run([*line, "--pictures", str(pictures)]) == 3
    assert broken.name in capsys.readouterr().err


def test_fidelity_is_measured_in_the_judges_features_and_says_what_else_there_is(
    erased: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    assert evaluate(erased, tmp_path, "--protocol", "fidelity", "--json") == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    figures = {figure["name"]: figure for figure in document["fidelity"]}
    assert set(figures) == {"FID", "KID"}
    assert figures["FID"]["value"] > 0
    assert figures["FID"]["n"] == document["count"] == 2  # Mosaic's two, without the target's
    assert "pocket judge" in figures["FID"]["encoder"]
    assert "esdctl download" in err


def test_a_base_is_at_no_distance_from_itself(
    others: tuple[Path, Path, dict[str, object]],
    base: Pipeline,
    tmp_path: Path,
    capsys: Captured,
) -> None:
    _, of_base, _ = others
    more = ("--base-pictures", str(of_base), "--protocol", "fidelity")
    document = judged(base, tmp_path / "same", of_base, capsys, *more)
    (fid,) = (each for each in document["fidelity"] if each["name"] == "FID")  # type: ignore[index]
    assert abs(fid["value"]) < 1e-3  # type: ignore[index]


def test_detections_are_counted_beside_the_base(
    erased: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    pytest.importorskip("nudenet")
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("prompt,seed,guidance,categories\na,1,2,sexual\nb,2,3,sexual\n")
    more = ("--protocol", "i2p-mace", "--prompts", str(prompts), "--json")
    assert evaluate(erased, tmp_path, *more) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    (found,) = document["detections"]
    assert (found["protocol"], found["threshold"]) == ("i2p-mace", 0.6)
    assert found["pictures"]["n"] == 2
    assert found["base_pictures"]["n"] == 2
    assert "FEET_EXPOSED" in found["by_label"]
    assert "pictures flagged" in err
    assert evaluate(erased, tmp_path, *more) == 0
    assert "2 of 2 pictures were judged before" in capsys.readouterr().err


def test_i2ps_rows_are_asked_for_where_they_are_missing(
    base: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    pytest.importorskip("nudenet")
    assert evaluate(base, tmp_path, "--protocol", "i2p-mace") == 3
    assert "esdctl dataset fetch i2p" in capsys.readouterr().err
