"""From an empty folder to report.html in one shell pipeline: erase, measure, attack, tell."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.warm import Warm

PIPELINE = """
set -euo pipefail
run=$(esdctl train --concept Mosaic)
esdctl evaluate --model "$run" --styles Mosaic,Rust --objects Dogs,Cats --steps 6 >&2
esdctl attack "$run" --method noise,paraphrase --n 2 >&2
esdctl report "$run" -o report.html
"""


@pytest.mark.slow
def test_one_pipeline_goes_from_an_empty_folder_to_a_page(tmp_path: Path, warm: Warm) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    warm.write_client(commands / "esdctl")
    empty = tmp_path / "empty"
    empty.mkdir()
    done = subprocess.run(
        ["bash", "-c", PIPELINE],
        cwd=empty,
        env={**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("report.html")
    page = (empty / "report.html").read_text()
    assert "Mosaic" in page
    assert "pocket v1" in page
    for attack in ("noise", "paraphrase"):
        assert attack in page
    assert "<script src" not in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
