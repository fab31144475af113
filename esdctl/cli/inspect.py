"""``esdctl inspect``: what a file or folder holds, without loading it."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.options import JsonOption, RootOption
from esdctl.cli.output import print_json, print_line
from esdctl.errors import InputError, IntegrityError

if TYPE_CHECKING:
    from esdctl.checkpoints.layouts.inspection import Inspection
    from esdctl.storage.workspace import Workspace

_LISTED = 3  # entries of a long list that are shown; JSON has all


def inspect(
    path: Annotated[
        str,
        typer.Argument(metavar="PATH|NAME", help="A model, a run, a delta, a LoRA, a download."),
    ],
    root: RootOption = None,
    json: JsonOption = False,
) -> None:
    """Tell family, layout, precision, size, concept and settings; no tensor is loaded.

    Example: esdctl inspect models/compvis/style50/compvis.ckpt
    """
    from esdctl.checkpoints.layouts.inspection import base_of, with_base
    from esdctl.checkpoints.layouts.inspection import inspect as inspect_path
    from esdctl.storage.workspace import find_workspace

    workspace = find_workspace(root)
    found = inspect_path(_place(path, workspace))
    base = base_of(found)
    is_change = found.layout is None  # of another model; an exported model tells its own layout
    if is_change and base is not None and _place(base, workspace).exists():
        with suppress(InputError, IntegrityError):  # what is asked about is known all the same
            found = with_base(found, _place(base, workspace))
    if json:
        return print_json(found.document())
    for key, value in _lines(found):
        print_line(f"{key}: {value}")
    return None


def _place(name: str, workspace: "Workspace") -> Path:
    """The path of a named model, or the path itself; what exists comes first."""
    from esdctl.models.named import COMPVIS, DIFFUSER, EMBEDDED, run_path
    from esdctl.storage.manifest import MANIFEST_NAME

    path = run_path(Path(name), workspace)
    inside = {"compvis": COMPVIS, "diffuser": DIFFUSER, "diffusers": DIFFUSER}.get(name)
    if path.exists() or (name not in EMBEDDED and inside is None):
        return path
    if inside is None:
        return EMBEDDED[name]
    models = workspace.models
    download = models / inside.parts[0]  # its manifest tells more than the model in it
    return download if (download / MANIFEST_NAME).is_file() else models / inside


def _lines(found: "Inspection") -> list[tuple[str, str]]:
    """What is known, one fact a line."""
    facts: dict[str, object] = {
        "path": found.path,
        "kind": found.kind,
        "family": found.family,
        "layout": found.layout,
        "prediction type": found.prediction_type,
        "dtype": ", ".join(sorted(found.dtypes, key=lambda name: -found.dtypes[name])),
        "parameters": f"{found.parameters:,} in {found.tensors} tensors" if found.tensors else "",
        **{
            f"  {part}": f"{count:,}" for part, count in found.parts.items() if len(found.parts) > 1
        },
        "size": f"{found.bytes:,} bytes" if found.bytes else "",
        "sha256": found.sha256,
        "digest": found.digest,
        **_flat(found.about),
        **{f"note {number}": note for number, note in enumerate(found.notes, start=1)},
    }
    return [(key, str(value)) for key, value in facts.items() if value not in (None, "")]


def _flat(about: object, prefix: str = "") -> dict[str, object]:
    """Nested settings as ``settings.lr``; long lists cut."""
    if isinstance(about, list) and len(about) > _LISTED:
        return {prefix: f"{', '.join(map(str, about[:_LISTED]))} and {len(about) - _LISTED} more"}
    if not isinstance(about, dict):
        return {prefix: about}
    flat: dict[str, object] = {}
    for key, value in about.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        flat |= _flat(value, name)
    return flat
