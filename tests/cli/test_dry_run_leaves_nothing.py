"""A dry run leaves nothing, though it may have to read a pickled checkpoint for the first time."""

from pathlib import Path

import pytest

from esdctl.cli.app import run
from tests.checkpoints.tiny_models import tiny_compvis


@pytest.mark.parametrize(
    "line",
    [
        "train --concept Dogs --dry-run --no-estimate",
        "train --concept Dogs --show-config",
        "sample --prompt a --dry-run --no-estimate",
    ],
)
def test_no_copy_of_a_pickled_checkpoint_stays(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_compvis("sd1", tmp_path / "models/m.ckpt", "state_dict")
    before = sorted(tmp_path.rglob("*"))
    assert run([*line.split(), "--model", str(model), "--root", str(tmp_path)]) == 0
    assert sorted(tmp_path.rglob("*")) == before
    assert "a dry run leaves nothing" in capsys.readouterr().err


def test_what_makes_no_sense_is_told_before_a_checkpoint_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_compvis("sd1", tmp_path / "models/m.ckpt", "state_dict")
    before = sorted(tmp_path.rglob("*"))
    for words in (["--concept", "Dgos"], [], ["--concept", "Dogs", "--lr", "fast"]):
        assert run(["train", *words, "--model", str(model), "--root", str(tmp_path)]) == 2
    assert sorted(tmp_path.rglob("*")) == before
    assert "for the first time" not in capsys.readouterr().err
