"""backend.cpp compiled for the torch that is here, without importing it."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("backend.cpp")


def torch_folder() -> Path:
    """Where torch is; it is not imported."""
    found = importlib.util.find_spec("torch")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def compiler() -> str | None:
    """The C++ compiler, or None."""
    return shutil.which("g++")


def build(folder: Path) -> Path:
    """The library in a folder."""
    torch, library = torch_folder(), folder / "librehearsal.so"
    command = [
        str(compiler()), "-std=c++20", "-O0", "-shared", "-fPIC", str(SOURCE), "-o", str(library),
        f"-I{torch}/include", f"-I{torch}/include/torch/csrc/api/include", f"-L{torch}/lib",
        "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{torch}/lib",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return library
