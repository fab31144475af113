"""Digests name bytes, provenance names what made them."""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import pytest

from esdctl import __version__
from esdctl.errors import InputError
from esdctl.storage.digest import sha256_file, sha256_files
from esdctl.storage.provenance import collect

# FIPS 180-2, appendix B.1: the SHA-256 of "abc"
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "1").write_bytes(b"abc")
    (tmp_path / "2").write_bytes(b"def")
    return {"unet": tmp_path / "1", "vae": tmp_path / "2"}


def test_a_file_has_the_digest_of_the_standard(files: dict[str, Path]) -> None:
    assert sha256_file(files["unet"]) == ABC


def test_the_order_of_files_does_not_matter(files: dict[str, Path]) -> None:
    assert sha256_files(files) == sha256_files(dict(reversed(files.items())))


def test_their_names_and_bytes_do(files: dict[str, Path]) -> None:
    before = sha256_files(files)
    swapped = sha256_files({"unet": files["vae"], "vae": files["unet"]})
    files["vae"].write_bytes(b"deg")
    assert len({before, swapped, sha256_files(files)}) == 3


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match="is not a file"):
            sha256_file(path)


def test_provenance_tells_versions_machine_and_command() -> None:
    document = json.loads(json.dumps(collect(["esdctl", "train", "--concept", "Dogs"])))
    assert document["command_line"] == ["esdctl", "train", "--concept", "Dogs"]
    assert document["versions"]["esdctl"] == __version__
    assert document["versions"]["python"] == platform.python_version()
    assert document["versions"]["torch"] == version("torch")
    assert document["time"].endswith("+00:00")
