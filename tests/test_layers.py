"""The house stands as drawn: imports go down only, and the command line starts without torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import esdctl

REPOSITORY = Path(__file__).parents[1]
ARCHITECTURE = REPOSITORY / "esdctl/guide/architecture.md"
COMMAND_MODULES = sorted(
    f"esdctl.cli.{file.stem}" for file in (REPOSITORY / "esdctl/cli").glob("[!_]*.py")
)
HEAVY = {"torch", "diffusers", "transformers", "safetensors", "numpy", "scipy", "PIL", "httpx"}


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a new interpreter has loaded after ``code``."""
    show = "import json, sys; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    process = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    modules = json.loads(process.stderr.splitlines()[-1])
    return {name.partition(".")[0] for name in modules}


def test_imports_go_down_only() -> None:
    lint = "from importlinter.cli import lint_imports as lint; exit(lint(no_cache=True))"
    process = subprocess.run(
        [sys.executable, "-c", lint], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stdout


def test_help_loads_neither_torch_nor_httpx() -> None:
    loaded = loaded_after("from esdctl.cli.app import run; run(['--help'])")
    assert "typer" in loaded
    assert not loaded & {*HEAVY, "pydantic", "yaml"}  # what the list of commands does not need


@pytest.mark.parametrize("module", COMMAND_MODULES)
def test_no_module_of_the_command_line_loads_torch(module: str) -> None:
    assert not loaded_after(f"import {module}") & HEAVY


def test_provenance_imports_none_of_the_libraries_it_names() -> None:
    code = "from esdctl.storage.provenance import collect; collect(['esdctl'])"
    assert not loaded_after(code) & HEAVY


@pytest.mark.parametrize("map_of_the_house", [esdctl.__doc__, ARCHITECTURE.read_text("utf-8")])
def test_every_package_is_on_the_map(map_of_the_house: str) -> None:
    rooms = [
        path.stem
        for path in (REPOSITORY / "esdctl").iterdir()
        if not path.name.startswith(("_", ".")) and path.name != "py.typed"
    ]
    assert [room for room in rooms if room not in map_of_the_house] == []
