"""Names inside a run folder, and what its record looks like."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from esdctl.errors import InputError, UsageError
from esdctl.models.named import DELTA_NAME, RECORD_NAME
from esdctl.storage.atomic import is_partial, read_jsonl
from esdctl.storage.digest import sha256_file
from esdctl.storage.manifest import MANIFEST_NAME, FileEntry, Manifest, write_manifest


@dataclass(frozen=True)
class RunFolder:
    """A run on disk.

    ``run.json`` (settings, concept, base, provenance; written first, its presence makes a folder a
    run), ``log.jsonl`` (one row a step), ``checkpoints/`` (state to resume from), then, when the
    run is done, ``delta.safetensors``, ``earlier.json`` and ``contact_sheet.png`` if they are
    wanted, and a manifest of all of these.
    """

    path: Path

    @property
    def record(self) -> Path:
        return self.path / RECORD_NAME

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def delta(self) -> Path:
        return self.path / DELTA_NAME

    def chosen_batch_size(self) -> int | None:
        """What the machine chose for this run, which keeps it; None where it has not yet."""
        if not self.record.exists():
            return None
        _, record = open_run(self.path)
        computed = record.get("computed")
        chosen = computed.get("batch_size") if isinstance(computed, dict) else None
        old = self.path / "batch_size.json"  # where it stood at first
        if chosen is None and old.exists():
            chosen = json.loads(old.read_bytes())["batch_size"]
        return None if chosen is None else int(chosen)

    @property
    def contact_sheet(self) -> Path:
        return self.path / "contact_sheet.png"

    @property
    def earlier(self) -> Path:
        """UA of what was erased from the base before, where a probe measured it."""
        return self.path / "earlier.json"

    @property
    def is_finished(self) -> bool:
        """Whether the delta is there, and the sheet or, where none was wanted, the manifest."""
        last = (self.contact_sheet, self.path / MANIFEST_NAME)
        return self.delta.is_file() and any(path.is_file() for path in last)

    def has_all(self, with_sheet: bool) -> bool:
        """Whether nothing is left to do."""
        return self.is_finished and (self.contact_sheet.is_file() or not with_sheet)

    def steps(self) -> int:
        """The optimiser steps in the log."""
        return max((int(str(row["step"])) for row in read_jsonl(self.log)), default=0)

    def saved_steps(self) -> int:
        """The steps of the newest checkpoint; 0 without one."""
        names = sorted(path.stem for path in self.checkpoints.glob("step-*.pt"))
        return int(names[-1].removeprefix("step-")) if names else 0

    def seal(self, concept: str, settings_digest: str) -> None:
        """Write the manifest of what does not change any more, so that ``verify`` can tell.

        Raises:
            StorageError: the disk is full or not writable.
        """
        written = (self.record, self.path / "config.yaml", self.log, self.delta)
        files = (*written, self.earlier, self.contact_sheet)
        entries = [
            FileEntry(file.name, file.stat().st_size, sha256_file(file))
            for file in files
            if file.is_file()
        ]
        write_manifest(
            self.path, Manifest(concept, "esdctl train", settings_digest, tuple(entries))
        )

    def training_seconds(self) -> float:
        """The sum over the log's steps and probes, in seconds."""
        return round(sum(float(str(row["seconds"])) for row in read_jsonl(self.log)), 2)


def open_run(path: Path) -> tuple[RunFolder, dict[str, object]]:
    """An existing run and its record.

    Raises:
        InputError: the folder is missing, is no run, or its record is damaged.
    """
    run = RunFolder(path)
    if not path.is_dir():
        raise InputError(f"no run folder {path}", "give the folder that esdctl train printed")
    try:
        record = json.loads(run.record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path} is no run folder: it has no run.json", "give the folder that train printed"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{run.record} is damaged ({error})", "train again in a new folder"
        ) from error
    if not isinstance(record, dict) or not {"settings", "base", "settings_digest"} <= record.keys():
        raise InputError(f"{run.record} is damaged: it lacks its settings", "train again")
    return run, record


def planned_steps(record: Mapping[str, object]) -> int | None:
    """The optimiser steps of a record: as the settings say, or as its chosen batch came to.

    Returns:
        None where no batch was chosen yet, or the record is damaged.
    """
    for part in (record.get("settings"), record.get("computed")):
        steps = part.get("iterations") if isinstance(part, dict) else None
        if isinstance(steps, int):
            return steps
    return None


def claim(path: Path) -> RunFolder:
    """A new, empty or already claimed run folder.

    One in which a process died while it wrote the record is as good as empty.

    Raises:
        UsageError: something else is there.
    """
    run = RunFolder(path)
    if path.exists() and not path.is_dir():
        raise UsageError(f"--output {path} is a file", "choose another folder")
    is_ours = run.record.exists() or not path.exists() or all(map(is_partial, path.iterdir()))
    if not is_ours:
        raise UsageError(
            f"--output {path} exists and is not a run folder", "choose another or an empty folder"
        )
    return run
