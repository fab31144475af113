"""A process with pretended CUDA devices that forks for each command line it is sent.

    python -m tests.rehearsal.worker LIBRARY

A request is a line of JSON on stdin, the answer one on the stream that stdout was: importing torch
and the rest is paid once.
"""

import contextlib
import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from tests.rehearsal.device.runtime import import_bitsandbytes, install


def main() -> None:
    install(Path(sys.argv[1]))
    import_bitsandbytes()
    import diffusers  # noqa: F401
    import transformers  # noqa: F401
    from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: F401
    from transformers import CLIPTextModel, CLIPTokenizer  # noqa: F401

    import esdctl.cli.app
    import esdctl.erasing.erase  # noqa: F401

    gc.collect()
    gc.freeze()  # what is loaded is no garbage, and stays shared
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            _answer(json.loads(line), answers)
            os._exit(0)
        _, status = os.waitpid(process, 0)
        if status != 0:
            print(json.dumps({"status": 70, "stderr": f"ended by {status}"}), file=answers)
            answers.flush()


def _answer(request: dict[str, Any], answers: TextIO) -> None:
    from esdctl.cli.app import run
    from tests.rehearsal.device.counts import COUNTS
    from tests.rehearsal.device.memory import MEMORY

    _measure_here()
    os.chdir(request["folder"])
    MEMORY.limit = int(request["gigabytes"] * 1e9)
    MEMORY.fail_at = request["fail_at"]
    texts = [Path(request["folder"]) / name for name in (".stdout", ".stderr")]
    with (
        texts[0].open("w") as out, texts[1].open("w") as err,
        contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
    ):  # fmt: skip
        status = run(request["arguments"])
    out_text, err_text = (path.read_text() for path in texts)
    found = {"status": status, "stdout": out_text, "stderr": err_text, "peak": MEMORY.peak}
    print(json.dumps({**found, **COUNTS.document()}), file=answers)
    answers.flush()


def _measure_here() -> None:
    """``bench`` measures in this process: a new one would have no pretended devices."""
    from esdctl.timing import training_bench
    from esdctl.timing.isolated import Isolated

    def here(function: Callable[..., object], *arguments: object) -> Isolated[object]:
        return Isolated(function(*arguments), 0, 0)

    training_bench.isolated = here  # type: ignore[assignment]


if __name__ == "__main__":
    main()
