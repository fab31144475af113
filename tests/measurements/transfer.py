"""Times a verified, unpacked ZIP from loopback: esdctl beside what people use otherwise.

    python tests/measurements/transfer.py [--mib 2048] [--rate MIB_PER_SECOND] [--rounds 3]

Every contestant runs in a process of its own, one after the other, from the same server process
and into the same disk. With ``--rate`` the server gives each connection so many MiB a second, as
content networks do. The table goes to stdout: the best of the rounds in seconds, the ratio to
esdctl, peak resident memory of the largest process, and peak disk over the unpacked size.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

REPOSITORY = str(Path(__file__).parents[2])
sys.path.insert(0, REPOSITORY)

from tests.hub_server import HubServer  # noqa: E402 - found by the line above

REPO = "models/owner/bench"
MIB = 2**20
SMALL_FILES = 200
FLOATS_STD = 0.02  # of weights; fp32 normals deflate to about 93 %

HUB_SCRIPT = """
import sys, zipfile
from huggingface_hub import hf_hub_download
path = hf_hub_download("owner/bench", "bench.zip", cache_dir=sys.argv[1])
zipfile.ZipFile(path).extractall(sys.argv[2])
"""


@dataclass(frozen=True)
class Contestant:
    """A name, and the command that leaves the unpacked files below the current folder."""

    name: str
    command: list[str]
    is_unpacked: bool = True


@dataclass(frozen=True)
class Measured:
    """One run: seconds, bytes resident at most, bytes on the disk at most."""

    seconds: float
    resident: int
    disk: int


def main() -> None:
    arguments = _arguments()
    if arguments.serve:
        _serve(Path(arguments.serve), arguments.rate)
        return
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        archive = Path(work, "bench.zip")
        unpacked = _make_archive(archive, arguments.mib * MIB)
        _say(f"{archive.stat().st_size / MIB:.0f} MiB packed, {unpacked / MIB:.0f} MiB unpacked")
        with _server(archive, arguments.rate) as endpoint:
            best: dict[str, Measured] = {}
            for _ in range(arguments.rounds):
                for contestant in _contestants(endpoint):
                    found = _run(contestant, Path(work), endpoint, unpacked)
                    before = best.get(contestant.name, found)
                    best[contestant.name] = min(found, before, key=lambda m: m.seconds)
                    _say(f"{contestant.name}: {found.seconds:.2f} s")
        _print_table(best, unpacked)


def _contestants(endpoint: str) -> Iterator[Contestant]:
    """esdctl, and those of the others that are installed."""
    url = f"{endpoint}/owner/bench/resolve/main/bench.zip"
    yield Contestant(
        "esdctl",
        [sys.executable, "-m", "esdctl", "download", "bench", "--catalog", "catalog.yaml",
         "--root", ".", "--quiet"],
    )  # fmt: skip
    unzip = "unzip -q bench.zip -d out"
    if shutil.which("curl") and shutil.which("unzip"):
        yield Contestant("curl + unzip", ["sh", "-c", f"curl -sSLo bench.zip {url} && {unzip}"])
    if shutil.which("aria2c") and shutil.which("unzip"):
        aria2 = f"aria2c -q -x8 -s8 -k1M -o bench.zip {url}"
        yield Contestant("aria2c -x8 alone", ["sh", "-c", aria2], is_unpacked=False)
        yield Contestant("aria2c -x8 + unzip", ["sh", "-c", f"{aria2} && {unzip}"])
    yield Contestant("huggingface_hub + zipfile", [sys.executable, "-c", HUB_SCRIPT, "hub", "out"])


def _run(contestant: Contestant, work: Path, endpoint: str, unpacked: int) -> Measured:
    """Run one contestant in an empty folder, and watch it."""
    folder = Path(tempfile.mkdtemp(dir=work))
    _write_catalog(folder / "catalog.yaml", endpoint)
    os.sync()
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": os.pathsep.join([REPOSITORY, os.environ.get("PYTHONPATH", "")]),
    }
    began = time.perf_counter()
    process = subprocess.Popen(
        contestant.command, cwd=folder, env=environment, stdout=subprocess.DEVNULL
    )
    with _watching_disk(folder) as peak:
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status != 0:
        sys.exit(f"{contestant.name} failed")
    if contestant.is_unpacked:
        _check(folder, unpacked)
    shutil.rmtree(folder)
    return Measured(seconds, usage.ru_maxrss * 1024, peak[0])


def _check(folder: Path, unpacked: int) -> None:
    """All bytes are there; what the contestant itself checked is its own affair."""
    files = [path for path in folder.rglob("*.safetensors") if path.is_file()]
    found = sum(path.stat().st_size for path in files)
    if found != unpacked:
        sys.exit(f"{found} bytes unpacked in place of {unpacked}")


def _make_archive(path: Path, size: int) -> int:
    """A ZIP as of a pipeline folder: one large member, some middle ones, many small ones."""
    draw = np.random.default_rng(0)
    shares = {"unet": 0.7, "text_encoder": 0.15, "vae": 0.1}
    sizes = {f"style50/{name}/m.safetensors": int(size * part) for name, part in shares.items()}
    rest = (size - sum(sizes.values())) // SMALL_FILES
    sizes |= {f"style50/pictures/{n}.safetensors": rest for n in range(SMALL_FILES)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, length in sizes.items():
            with archive.open(name, "w", force_zip64=True) as member:
                for start in range(0, length, MIB):
                    count = min(MIB, length - start)
                    block = draw.standard_normal(count // 4 + 1, dtype=np.float32) * FLOATS_STD
                    member.write(block.tobytes()[:count])
    return sum(sizes.values())


@contextmanager
def _server(archive: Path, rate: float | None) -> Iterator[str]:
    """The hub in a process of its own; gives its address."""
    command = [sys.executable, __file__, "--serve", str(archive)]
    if rate is not None:
        command += ["--rate", str(rate)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate("\n")


def _serve(archive: Path, rate: float | None) -> None:
    with HubServer(rate=int(rate * MIB) if rate else None) as hub:
        hub.commit(REPO, {"bench.zip": archive})
        print(hub.endpoint, flush=True)
        sys.stdin.readline()


@contextmanager
def _watching_disk(folder: Path) -> Iterator[list[int]]:
    """Watch the bytes below ``folder``, twenty times a second; gives their peak in a list."""
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            peak[0] = max(peak[0], _bytes_below(folder))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
        peak[0] = max(peak[0], _bytes_below(folder))


def _bytes_below(folder: Path) -> int:
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                status = Path(parent, name).lstat()
            except FileNotFoundError:
                continue
            total += min(status.st_size, status.st_blocks * 512)
    return total


def _write_catalog(path: Path, endpoint: str) -> None:
    entry = {
        "name": "bench",
        "kind": "model",
        "zip": {"url": f"{endpoint}/owner/bench/resolve/main/bench.zip"},
        "folder": "models/bench",
    }
    path.write_text(json.dumps({"artifacts": [entry]}))  # JSON is YAML


def _print_table(best: dict[str, Measured], unpacked: int) -> None:
    from esdctl.transfer.zip.inflate import inflater_name

    ours = best["esdctl"].seconds
    print(f"\nesdctl inflates with {inflater_name()}; zlib {zlib.ZLIB_RUNTIME_VERSION}\n")
    print(f"{'':28}{'s':>8}{'x esdctl':>10}{'RSS, MiB':>10}{'disk / unpacked':>17}")
    for name, found in best.items():
        print(
            f"{name:28}{found.seconds:8.2f}{found.seconds / ours:10.2f}"
            f"{found.resident / MIB:10.0f}{found.disk / unpacked:17.3f}"
        )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mib", type=int, default=2048, help="unpacked size")
    parser.add_argument("--rate", type=float, help="MiB a second of one connection")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", help="folder for archive and results; needs 4 times the size")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
