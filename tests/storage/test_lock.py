"""One process per target; the second waits and says so."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from esdctl.errors import StorageError
from esdctl.progress import Silent
from esdctl.storage.lock import target_lock

PROCESS = """
import sys
from pathlib import Path
from esdctl.progress import Silent
from esdctl.storage.lock import target_lock

class Printing(Silent):
    def notice(self, text):
        print(text, flush=True)

with target_lock(Path(sys.argv[1]), Printing()):
    print("inside", flush=True)
    sys.stdin.readline()
"""


def start(target: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_second_process_waits_until_the_first_leaves(tmp_path: Path) -> None:
    target = tmp_path / "run"
    with start(target) as first, start(tmp_path / "other") as unrelated:
        assert first.stdout is not None
        assert first.stdout.readline() == "inside\n"
        with start(target) as second:
            assert second.stdout is not None
            assert second.stdout.readline() == f"waiting: another process works on {target}\n"
            first.communicate("\n")
            assert second.stdout.readline() == "inside\n"
            second.communicate("\n")
        assert unrelated.communicate("\n")[0] == "inside\n"
    assert (first.returncode, second.returncode) == (0, 0)


def test_a_lock_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), target_lock(tmp_path / "run", Silent()):
        raise ZeroDivisionError
    with start(tmp_path / "run") as process:
        assert process.communicate("\n")[0] == "inside\n"


def test_a_disk_without_locks_is_told_and_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def acquire(lock: FileLock, timeout: float) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    class Warned(Silent):
        text = ""

        def warning(self, text: str) -> None:
            self.text = text

    monkeypatch.setattr(FileLock, "acquire", acquire)
    reporter = Warned()
    with target_lock(tmp_path / "run", reporter):
        assert "has no locks" in reporter.text


def test_a_file_in_place_of_the_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError), target_lock(tmp_path / "file" / "run", Silent()):
        pass
