"""What this installation has and lacks: versions, devices, disk, hub, caches, extras, models.

Nothing here fails: what is missing is a finding. Only what every command needs counts as broken.
"""

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from threading import Thread

import esdctl
from esdctl.counting import counted
from esdctl.errors import UsageError
from esdctl.models.named import EMBEDDED, known_models
from esdctl.redaction import redacted
from esdctl.storage.disk_space import existing_folder, free_disk, size_of_folder
from esdctl.storage.user_cache import cache_folder
from esdctl.storage.workspace import Workspace
from esdctl.transfer.options import TransferOptions, options_from_environment

HUB_SECONDS = 3.0  # to connect, and for the first byte
_OFFLINE = "downloads need it; everything else works offline"
_LEAST_FREE = 2 * 10**9  # bytes; a run of a full-size model leaves about so many
_DENOISERS = {"pocket": "unet", "pocket-flow": "transformer"}
_OTHER_PARTS = ("vae", "text_encoder", "classifier")
_EXTRAS = {
    "isal": ("fast", "downloads of ZIPs inflate twice as fast"),
    "tensorboard": ("tensorboard", "train --tracker tensorboard"),
    "wandb": ("wandb", "train --tracker wandb"),
    "scipy": ("make", "drawing the training pictures of pocket"),
    "matplotlib": ("report", "the page of report"),
    "peft": ("", "reading an exported LoRA with diffusers"),
    "accelerate": ("", "opening a diffusers folder with little memory"),
}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        group: versions, devices, disk, hub, caches, extras, models or judges.
        name: what was looked at.
        found: what it is.
        advice: what to do, where something is missing; "" else.
        is_broken: whether a thing that every command needs does not work.
    """

    group: str
    name: str
    found: str
    advice: str = ""
    is_broken: bool = False

    def document(self) -> dict[str, object]:
        """As a JSON document."""
        return asdict(self)


def examine(workspace: Workspace, environment: Mapping[str, str]) -> list[Finding]:
    """Look at everything; takes a few seconds at most, also without a network.

    Args:
        workspace: whose disk, models and copies are looked at.
        environment: where the hub's address and token are named.
    """
    return [
        *_versions(),
        *_devices(),
        *_disks(workspace),
        *_hub(environment),
        *_caches(workspace),
        *_extras(),
        *_models(workspace),
    ]


def _versions() -> Iterator[Finding]:
    yield Finding("versions", "esdctl", esdctl.__version__)
    yield Finding("versions", "python", f"{platform.python_version()}, {platform.platform()}")
    for line in _requirements():
        requirement, _, marker = line.partition(";")
        if "extra" not in marker:
            yield _required(requirement.strip())


def _requirements() -> list[str]:
    """What the installed package asks for; nothing where it runs from its sources."""
    try:
        return requires("esdctl") or []
    except PackageNotFoundError:
        return []


def _required(requirement: str) -> Finding:
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    found = _installed(wanted.name)
    is_broken = found is None or not wanted.specifier.contains(found, prereleases=True)
    advice = f'pip install "{requirement}"' if is_broken else ""
    return Finding("versions", wanted.name, found or "missing", advice, is_broken)


def _devices() -> Iterator[Finding]:
    try:
        import torch

        from esdctl.models.devices import existing_devices
        from esdctl.models.memory import free_memory
    except ImportError as error:
        yield Finding("devices", "torch", f"cannot be imported: {error}", "pip install torch", True)
        return
    for name in existing_devices():
        device = torch.device(name)
        shown = (
            f"{counted(os.cpu_count() or 1, 'core')}, {counted(torch.get_num_threads(), 'thread')}"
        )
        if device.type == "cuda":
            shown = torch.cuda.get_device_name(device)
        free = free_memory(device)
        yield Finding("devices", name, f"{shown}, {_size(free)} free" if free else shown)
    if not torch.cuda.is_available():
        advice = "a full-size model takes hours to erase from on a CPU; pocket takes seconds"
        yield Finding("devices", "cuda", "none", advice)


def _disks(workspace: Workspace) -> Iterator[Finding]:
    for name, folder in (("workspace", workspace.root), ("cache", cache_folder())):
        place, free = existing_folder(folder), free_disk(folder)
        advice = "" if free >= _LEAST_FREE else "too little for a full-size model; free some space"
        if not os.access(place, os.W_OK):
            advice = f"{place} is not writable; choose another folder"
        yield Finding("disk", name, f"{_size(free)} free at {place}", advice)


def _hub(environment: Mapping[str, str]) -> Iterator[Finding]:
    try:
        options = options_from_environment(environment)
    except UsageError as error:
        yield Finding("hub", "address", error.message, error.hint or "mend HF_ENDPOINT")
        return
    yield _hub_answer(options)
    has_token = options.token is not None
    advice = "" if has_token else "only gated models need one; set HF_TOKEN"
    yield Finding("hub", "token", "set (never shown)" if has_token else "none", advice)


def _hub_answer(options: TransferOptions) -> Finding:
    """The hub's, in a thread of its own: looking a name up knows no time limit."""
    if options.offline:
        return Finding("hub", options.endpoint, "not asked: HF_HUB_OFFLINE is set")
    answers: list[Finding] = []
    asking = Thread(target=lambda: answers.append(_probe_hub(options)), daemon=True)
    asking.start()
    asking.join(2 * HUB_SECONDS)
    late = Finding("hub", options.endpoint, f"no answer within {2 * HUB_SECONDS:.0f} s", _OFFLINE)
    return answers[0] if answers else late


def _probe_hub(options: TransferOptions) -> Finding:
    import httpx

    try:
        with httpx.Client(timeout=HUB_SECONDS, follow_redirects=False) as client:
            status = client.head(options.endpoint).status_code
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        reason = redacted(str(error) or type(error).__name__)
        return Finding("hub", options.endpoint, f"not reachable ({reason})", _OFFLINE)
    return Finding("hub", options.endpoint, f"reachable (answers {status})")


def _caches(workspace: Workspace) -> Iterator[Finding]:
    folder = cache_folder()
    yield Finding("caches", str(folder), _size(size_of_folder(folder)))
    copies = sorted(workspace.models.glob("**/.*.safetensors"))
    if copies:
        size = sum(copy.lstat().st_size for copy in copies)
        found = f"{len(copies)}, {_size(size)}"
        yield Finding("caches", "copies of checkpoints", found, "each can be removed at any time")


def _extras() -> Iterator[Finding]:
    for name, (extra, use) in _EXTRAS.items():
        found = _installed(name)
        package = f"'esdctl[{extra}]'" if extra else name
        advice = "" if found else f"for {use}: pip install {package}"
        yield Finding("extras", name, found or "not installed", advice)


def _models(workspace: Workspace) -> Iterator[Finding]:
    for name, folder in EMBEDDED.items():
        parts = (_DENOISERS[name], *_OTHER_PARTS)
        missing = [part for part in parts if not any((folder / part).glob("*.safetensors"))]
        if missing:
            lost = f"its files are missing: {', '.join(missing)}"
            yield Finding("models", name, lost, "install esdctl again", True)
        else:
            yield Finding("models", name, "embedded")
    here = known_models(workspace)
    for name in ("compvis", "diffuser"):
        advice = "" if name in here else f"esdctl download {name}"
        yield Finding("models", name, "here" if name in here else "not downloaded", advice)
    for name in here:
        if name.startswith("hub:"):
            yield Finding("models", name, "here")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _size(count: float) -> str:
    """Bytes as ``1.2 GB``."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
