"""``esdctl sample``: prompts from anywhere, one path a line, clear errors, nothing half-written."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from esdctl.cli.app import run
from esdctl.storage.atomic import read_jsonl
from tests.warm import Warm

Capture = pytest.CaptureFixture[str]


def arguments(model: Path, *more: str) -> list[str]:
    quick = {"--model": str(model), "--steps": "2", "--device": "cpu"}
    missing = [part for flag in quick if flag not in more for part in (flag, quick[flag])]
    return ["sample", *missing, *more]


def give_stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_prompts_of_stdin_become_one_path_a_line(
    tiny_model: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_stdin(monkeypatch, "a dog\na cat 🐈\n".encode())
    assert run(arguments(tiny_model, "--prompts", "-", "--root", str(tmp_path))) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in paths] == ["00000-188.png", "00001-188.png"]
    assert all(Image.open(path).size == (64, 64) for path in paths)
    assert paths[0].parent.parent == tmp_path / "outputs/samples"
    assert paths[0].parent.name.startswith("tiny-")


def test_a_second_run_prints_the_same_paths_and_makes_nothing(
    tiny_model: Path, tmp_path: Path, capsys: Capture
) -> None:
    command = arguments(tiny_model, "--prompt", "a dog", "--root", str(tmp_path))
    assert run(command) == 0
    first = capsys.readouterr().out
    picture = Path(first.strip())
    made = picture.stat().st_mtime_ns
    assert run(command) == 0
    assert capsys.readouterr().out == first
    assert picture.stat().st_mtime_ns == made


def test_what_the_unet_computes_in_is_part_of_what_a_picture_is(
    tiny_model: Path, tmp_path: Path, capsys: Capture
) -> None:
    asked = arguments(tiny_model, "--prompt", "a dog", "--root", str(tmp_path), "--jsonl")
    rows = []
    for dtype in ("fp32", "bf16"):
        assert run([*asked, "--dtype", dtype]) == 0
        rows.append(json.loads(capsys.readouterr().out))
    assert [row.get("dtype") for row in rows] == [None, "bf16"]  # fp32 is meant where none is named
    folders = {Path(row["path"]).parent for row in rows}
    assert len(folders) == 2
    assert run([*asked, "--output", str(Path(rows[1]["path"]).parent)]) == 2
    assert "dtype" in capsys.readouterr().err
    assert run([*asked, "--dtype", "fp8"]) == 2
    assert "use one of fp32, bf16, fp16" in capsys.readouterr().err


def test_json_is_one_document_with_the_rows_and_the_sheet(
    tiny_model: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    flags = ("--prompt", "a", "--prompt", "b", "--seeds", "0-1", "--grid", "--json")
    assert run(arguments(tiny_model, *flags, "--output", str(out))) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["pictures"] == read_jsonl(out / "pictures.jsonl")
    assert document["folder"] == str(out)
    assert Image.open(document["contact_sheet"]).width > 2 * 160


def test_json_lines_are_one_object_a_picture(
    tiny_model: Path, tmp_path: Path, capsys: Capture
) -> None:
    flags = ("--prompt", "a", "--seeds", "3,4", "--jsonl", "--output", str(tmp_path))
    assert run(arguments(tiny_model, *flags)) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["seed"] for event in events] == [3, 4]
    assert all(Path(event["path"]).is_file() for event in events)


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    tiny_model: Path, tmp_path: Path, capsys: Capture
) -> None:
    flags = ("--prompt", "a", "--seed", "5", "--dry-run", "--json", "--root", str(tmp_path))
    assert run(arguments(tiny_model, *flags)) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["pictures"][0]["file"] == "00000-5.png"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "status", "complaint"),
    [
        ([], 2, "no prompts"),
        (["--prompts", "nowhere.txt"], 3, "cannot read prompts from nowhere.txt"),
        (["--prompt", "a", "--seed", "1", "--seeds", "2"], 2, "exclude each other"),
        (["--prompt", "a", "--json", "--jsonl"], 2, "exclude each other"),
        (["--prompt", "a", "--seeds", "x"], 2, "names no seeds"),
        (["--prompt", "a", "--seed", "-1"], 2, "--seed"),
        (["--prompt", "a", "--guidance", "nan"], 2, "--guidance is nan"),
        (["--prompt", "a", "--image-size", "100"], 2, "--image-size is 100"),
        (["--prompt", "a", "--batch-size", "0"], 2, "--batch-size"),
        (["--prompt", "a", "--steps", "0"], 2, "--steps is 0"),
        (["--prompt", "a", "--device", "tpu9"], 6, "no device 'tpu9'"),
        (["--prompt", "a", "--model", "nothing"], 3, "no model called 'nothing'"),
        (["--prompt", "caf\udce9"], 3, "not valid Unicode"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_exit_status(
    flags: list[str], status: int, complaint: str, tiny_model: Path, capsys: Capture
) -> None:
    assert run(arguments(tiny_model, *flags)) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    error, *hints = captured.err.splitlines()
    assert error.startswith("error: ")
    assert complaint in error
    assert all(hint.startswith("hint: ") for hint in hints)


def test_a_single_option_that_is_given_twice_is_refused(tiny_model: Path, capsys: Capture) -> None:
    assert run(arguments(tiny_model, "--prompt", "a", "--seeds", "1", "--seeds", "2")) == 2
    assert "--seeds is given 2 times" in capsys.readouterr().err
    assert run(["evaluate", "--model", "pocket", "--model", "pocket"]) == 2
    assert "--model is given 2 times" in capsys.readouterr().err


def test_an_empty_stdin_is_an_input_error(
    tiny_model: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_stdin(monkeypatch, b"")
    assert run(arguments(tiny_model, "--prompts", "-")) == 3
    assert "stdin: no prompts" in capsys.readouterr().err


def many(model: Path, out: Path) -> list[str]:
    """A command line that samples 400 pictures, one at a time."""
    flags = ("--prompt", "a", "--seeds", "0-399", "--batch-size", "1", "--quiet")
    return arguments(model, *flags, "--output", str(out))


def wait_for_a_picture(folder: Path) -> None:
    deadline = time.monotonic() + 120
    rows = folder / "pictures.jsonl"  # a row follows its picture
    while not rows.exists() or not read_jsonl(rows):
        assert time.monotonic() < deadline, "no picture came"
        time.sleep(0.02)


def assert_all_pictures_whole(folder: Path) -> None:
    rows = read_jsonl(folder / "pictures.jsonl")
    assert rows
    for path in folder.glob("0*.png"):
        Image.open(path).load()
    assert {str(row["file"]) for row in rows} <= {path.name for path in folder.glob("0*.png")}


def test_a_closed_pipe_ends_quietly_after_whole_pictures(tiny_model: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "esdctl", *many(tiny_model, tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline().endswith(b"00000-0.png\n")
    process.stdout.close()
    assert process.wait(120) == 0
    assert process.stderr is not None
    complaints = process.stderr.read()
    assert b"error:" not in complaints
    assert b"Traceback" not in complaints
    assert_all_pictures_whole(tmp_path / "out")


def test_ctrl_c_tells_what_is_done_and_a_kill_leaves_whole_pictures(
    tiny_model: Path, tmp_path: Path, warm: Warm
) -> None:
    out = tmp_path / "out"
    process = warm.start(*many(tiny_model, out), cwd=tmp_path)
    wait_for_a_picture(out)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert "of 400 pictures are in" in process.stderr
    assert "hint: run the same command again" in process.stderr
    assert_all_pictures_whole(out)
    before = len(read_jsonl(out / "pictures.jsonl"))

    process = warm.start(*many(tiny_model, out), cwd=tmp_path)
    deadline = time.monotonic() + 120
    while len(read_jsonl(out / "pictures.jsonl")) <= before:
        assert time.monotonic() < deadline, "the second run made nothing"
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert_all_pictures_whole(out)


def test_the_defaults_in_the_help_are_those_of_the_sampler() -> None:
    from esdctl.cli.options import BatchSizeOption
    from esdctl.cli.sample import StepsOption
    from esdctl.sampling.defaults import DEFAULT_BATCH_SIZE, DEFAULT_STEPS

    assert f"else {DEFAULT_STEPS}" in StepsOption.__metadata__[0].help  # type: ignore[attr-defined]
    shown = BatchSizeOption.__metadata__[0].show_default  # type: ignore[attr-defined]
    assert shown == f"auto on CUDA, {DEFAULT_BATCH_SIZE} elsewhere"


def test_a_checkpoint_is_sampled_as_its_config_file_and_the_user_say(
    tmp_path: Path, capsys: Capture
) -> None:
    from tests.checkpoints.tiny_models import tiny_compvis

    path = tiny_compvis("sd2", tmp_path / "m.safetensors")
    command = arguments(path, "--prompt", "a dog", "--image-size", "192", "--root", str(tmp_path))
    assert run(command) == 0
    assert "nothing says what this SD 2.x model predicts" in capsys.readouterr().err
    assert run([*command, "--prediction-type", "epsilon", "--output", str(tmp_path / "eps")]) == 0
    assert "nothing says" not in capsys.readouterr().err
    assert run([*command, "--prediction-type", "x0"]) == 2


def test_the_benchmarks_layout_has_its_prompts_files_and_protocol(
    tiny_model: Path, tmp_path: Path, capsys: Capture
) -> None:
    flags = ("--layout", "unlearn-canvas", "--styles", "van gogh,Rust", "--objects", "Cats",
             "--seeds", "188,288", "--output", str(tmp_path))  # fmt: skip
    assert run(arguments(tiny_model, *flags)) == 0
    files = [
        f"{style}_Cats_seed{seed}.jpg" for style in ("Rust", "Van_Gogh") for seed in (188, 288)
    ]
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == [tmp_path / "base" / name for name in files]
    with Image.open(printed[0]) as picture:
        assert (picture.format, picture.size) == ("JPEG", (64, 64))
    rows = read_jsonl(tmp_path / "base/pictures.jsonl")
    assert rows[0]["prompt"] == "A Cats image in Rust style."
    assert rows[0]["guidance"] == 9.0
    assert len({str(row["seed"]) for row in rows}) == 4  # each cell has noise of its own


def test_the_benchmarks_layout_is_all_of_its_cells_with_its_steps(
    tiny_model: Path, capsys: Capture
) -> None:
    command = ["sample", "--model", str(tiny_model), "--layout", "unlearn-canvas", "--dry-run"]
    assert run([*command, "--no-estimate", "--json"]) == 0
    pictures = json.loads(capsys.readouterr().out)["pictures"]
    assert len(pictures) == 51 * 20
    assert {picture["steps"] for picture in pictures} == {100}


def test_layouts_and_prompts_do_not_mix(tiny_model: Path, capsys: Capture) -> None:
    layout = ("--layout", "unlearn-canvas")
    for flags, complaint in (
        ((*layout, "--prompt", "a"), "prompts of its own"),
        (("--prompt", "a", "--styles", "Rust"), "add --layout"),
        ((*layout, "--styles", "Rost"), "nearest known: Rust"),
        ((*layout, "--objects", "Cats,"), "has an empty name"),
        (("--layout", "coco"), "use one of unlearn-canvas"),
    ):
        assert run(arguments(tiny_model, *flags)) == 2
        assert complaint in capsys.readouterr().err


def test_what_does_not_count_is_said(
    tiny_model: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_stdin(monkeypatch, b"prompt,seed,artist\na dog,3,me\n")
    flags = ("--prompts", "-", "--seeds", "1", "--root", str(tmp_path))
    assert run(arguments(tiny_model, *flags)) == 0
    told = capsys.readouterr().err
    assert "--seeds counts for all pictures" in told
    assert "columns that are not used: artist" in told


def test_a_base_without_a_delta_on_it_is_refused(tiny_model: Path, capsys: Capture) -> None:
    assert run(arguments(tiny_model, "--prompt", "a", "--base", "pocket")) == 2
    assert "--base" in capsys.readouterr().err
