"""Every command that README and guide print works: run on the embedded model, or parsed.

Fenced ``bash`` and ``python`` blocks are run, page by page in one workspace, with few steps and
pictures; ``console`` blocks need a network, full-size weights or hours, and must parse.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from esdctl.cli.app import app, hyphenated
from tests.guide.pages import PAGES, Block, blocks, command_lines
from tests.warm import Warm

# What the commands of this house may be beside.
OTHERS = {"python3", "python", "pip", ".venv/bin/pip", ".venv/bin/pytest", "uv", "git", "cd", ".",
          "source", "echo", "printf", "jq", "sbatch", "export", "curl", "tar"}  # fmt: skip


# What would take minutes is shortened; each flag only where the page gives none.
SHORT = {
    "sample": {"--steps": "1"},
    "evaluate": {"--steps": "1", "--styles": "Mosaic,Rust", "--objects": "Dogs,Cats"},
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Path:
    """An empty workspace; beside it ``esdctl`` and ``python`` that start fast."""
    root = tmp_path_factory.mktemp("guide")
    (root / "bin").mkdir()
    for name in ("esdctl", "python"):
        warm.write_client(root / "bin" / name, SHORT)
    (root / "workspace").mkdir()
    return root / "workspace"


def environment(workspace: Path) -> dict[str, str]:
    path = f"{workspace.parent / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {
        **os.environ,
        "PATH": path,
        "ESDCTL_TRAIN_ITERATIONS": "1",
        "ESDCTL_TRAIN_CONTACT_SHEET": "false",
        "ESDCTL_TRAIN_DDIM_STEPS": "3",
        "HF_HUB_OFFLINE": "1",
    }


def run_in(workspace: Path, command: list[str]) -> None:
    surroundings = environment(workspace)
    found = shutil.which(command[0], path=surroundings["PATH"])
    done = subprocess.run(
        [str(found), *command[1:]], cwd=workspace, env=surroundings, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
def test_every_bash_and_python_block_runs_as_printed(workspace: Path) -> None:
    for block in sorted(blocks("bash"), key=lambda block: PAGES.index(block.page)):
        run_in(workspace, ["bash", "-euo", "pipefail", "-c", block.text])
    for block in blocks("python"):
        run_in(workspace, ["python", "-c", block.text])


@pytest.fixture(scope="module")
def parser() -> Any:
    """The whole command line, every command of which does nothing."""
    root = typer.main.get_command(app)
    _silence(root)
    return root


def _silence(command: Any) -> None:
    for name, child in getattr(command, "commands", {}).items():
        _silence(child)
        if not hasattr(child, "commands"):
            child.callback = lambda **values: None
        assert name


@pytest.mark.parametrize("block", [*blocks("console"), *blocks("bash")], ids=lambda b: b.page.stem)
def test_every_printed_command_line_parses(block: Block, parser: Any) -> None:
    for words in command_lines(block.text):
        name = words[0].removeprefix(".venv/bin/")
        if name == "esdctl":
            parser(hyphenated(words[1:]), prog_name="esdctl", standalone_mode=False, obj=[])
        else:
            assert words[0] in OTHERS, words


def test_no_block_hides_from_the_tests() -> None:
    assert not blocks("sh")
    assert not blocks("shell")
