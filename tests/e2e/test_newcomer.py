"""What a newcomer does, through the real command line: erase, look, measure, sample."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.warm import Warm


@pytest.fixture
def esdctl(warm: Warm, tmp_path: Path) -> Callable[..., str]:
    """A command line in an empty folder; gives what it prints."""
    warm.write_client(tmp_path.parent / "esdctl")

    def call(*arguments: str, stdin: str | None = None) -> str:
        return answer(tmp_path, *arguments, stdin=stdin)

    return call


def answer(folder: Path, *arguments: str, stdin: str | None) -> str:
    done = subprocess.run(
        [folder.parent / "esdctl", *arguments],
        cwd=folder, input=stdin, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_style_vanishes_from_the_embedded_model_and_others_stay(
    esdctl: Callable[..., str], tmp_path: Path
) -> None:
    run = esdctl("train", "--concept", "Neon_Lines").removesuffix("\n")
    assert run.startswith("outputs/runs/Neon_Lines-")
    with Image.open(tmp_path / run / "contact_sheet.png") as sheet:
        assert sheet.width > 900

    grid = ["--styles", "Neon_Lines,Rust,Cartoon", "--objects", "Dogs,Towers,Flowers,Human"]
    grid += ["--steps", "12"]
    report = json.loads(esdctl("evaluate", "--model", run, *grid, "--json"))
    assert [target["name"] for target in report["targets"]] == ["Neon_Lines"]
    assert report["base_unlearning"]["Neon_Lines"]["ua"]["percent"] <= 40
    assert report["unlearning"]["Neon_Lines"]["ua"]["percent"] >= 80
    assert report["percent_of_base"]["Neon_Lines"]["ira"]["percent"] >= 60
    assert report["percent_of_base"]["Neon_Lines"]["cra"]["percent"] >= 60

    prompts = "A Dogs image in Neon Lines style.\nA Dogs image in Rust style.\n"
    out = esdctl("sample", "--model", run, "--prompts", "-", "--steps", "5", stdin=prompts)
    paths = [tmp_path / line for line in out.splitlines()]
    assert [Image.open(path).size for path in paths] == [(128, 128), (128, 128)]
