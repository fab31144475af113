"""The cache folder follows the user's wish, and forgets without complaint."""

from pathlib import Path

import pytest

from esdctl.storage.user_cache import cache_folder, recall, remember


def test_the_cache_lies_where_the_user_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("ESDCTL_CACHE_DIR", raising=False)
    assert cache_folder() == tmp_path / "xdg" / "esdctl"
    monkeypatch.setenv("ESDCTL_CACHE_DIR", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_what_is_kept_is_recalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESDCTL_CACHE_DIR", str(tmp_path))
    assert recall("digests", "a") is None
    remember("digests", "a", "text")
    assert recall("digests", "a") == "text"
    assert recall("digests", "b") is None


def test_a_cache_that_cannot_be_written_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ESDCTL_CACHE_DIR", str(tmp_path / "file"))
    remember("digests", "a", "text")
    assert recall("digests", "a") is None
