"""Where the workspace is: the flag, else the environment, else the current folder."""

from pathlib import Path

import pytest

from esdctl.errors import InputError
from esdctl.storage.workspace import find_workspace


def test_the_flag_wins_over_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ESDCTL_ROOT", str(tmp_path / "environment"))
    assert find_workspace(tmp_path / "flag").models == tmp_path / "flag" / "models"


def test_the_environment_wins_over_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ESDCTL_ROOT", str(tmp_path / "environment"))
    assert find_workspace(None).outputs == tmp_path / "environment" / "outputs"


@pytest.mark.parametrize("variable", [None, ""])
def test_the_current_folder_is_the_default(
    variable: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ESDCTL_ROOT", raising=False)
    if variable is not None:
        monkeypatch.setenv("ESDCTL_ROOT", variable)
    monkeypatch.chdir(tmp_path)
    assert find_workspace(None).data.resolve() == tmp_path / "data"


def test_a_file_as_the_root_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a folder"):
        find_workspace(tmp_path / "file")
