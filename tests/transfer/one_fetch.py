"""One fetch in a process of its own, to be killed: root, endpoint, what, proof, seed."""

import sys
from pathlib import Path
from types import ModuleType

from esdctl.catalog.artifacts import Artifact, TreeSource, ZipSource
from esdctl.cli.exit_codes import exit_code
from esdctl.errors import EsdctlError
from esdctl.progress import Silent
from esdctl.transfer import ranges, segments
from esdctl.transfer.fetch import fetch
from esdctl.transfer.options import Proof, TransferOptions
from esdctl.transfer.plan import plan_transfer
from esdctl.transfer.zip import inflate, resumption
from esdctl.transfer.zip import remote as remote_zip

SMALL = 128 * 1024

# So small that a file of a few MiB has many pieces.
SMALL_PIECES: list[tuple[ModuleType, str, int]] = [
    (ranges, "PIECE", 4 * SMALL),
    (ranges, "CHECKPOINT", SMALL),
    (inflate, "IN_BACKGROUND", 8 * SMALL),
    (inflate, "MARK_EVERY", 2 * SMALL),
    (inflate, "INPUT_SLICE", SMALL // 2),
    (resumption, "PACKED_WINDOW", SMALL),
    (segments, "LARGEST_SEGMENT", SMALL),
    (segments, "SMALLEST_SEGMENT", SMALL),
    (remote_zip, "LARGEST_SEGMENT", SMALL),
]


def artifact_of(what: str, endpoint: str) -> Artifact:
    """The artifact ``tree`` or ``zip`` of the hub at ``endpoint``."""
    if what == "tree":
        return Artifact(
            "set", "dataset", "", TreeSource("owner/set", "dataset"), "data/set", (), ""
        )
    source = ZipSource(f"{endpoint}/owner/zips/resolve/main/all.zip", "")
    return Artifact("zipped", "model", "", source, "models/zipped", (), "")


def main(root: str, endpoint: str, what: str, proof: Proof, seed: str) -> int:
    for module, name, value in SMALL_PIECES:
        setattr(module, name, value)
    options = TransferOptions(
        connections=4, timeout=0.5, retries=8, endpoint=endpoint, proof=proof,
        first_wait=0.01, seed=int(seed),
    )  # fmt: skip
    try:
        plan = plan_transfer(artifact_of(what, endpoint), Path(root), options, Silent())
        fetch(plan, options, Silent())
    except EsdctlError as error:
        print(f"{type(error).__name__}: {error.message}; {error.hint}", file=sys.stderr)
        return exit_code(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))  # type: ignore[arg-type]
