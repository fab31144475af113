"""What the commands that fetch have in common: plan, fetch or show the plan, print the folders."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from esdctl.cli.output import print_document, print_json, print_json_line, print_line, print_path
from esdctl.cli.terminal import reporting, show_table
from esdctl.cli.transfer_options import TransferFlags
from esdctl.errors import Interrupted, UsageError
from esdctl.redaction import redacted

if TYPE_CHECKING:
    from esdctl.catalog.artifacts import Artifact
    from esdctl.storage.workspace import Workspace
    from esdctl.transfer.plan import TransferPlan


def fetch_and_print(
    artifacts: "Sequence[Artifact]",
    workspace: "Workspace",
    transfer: TransferFlags,
    *,
    refresh: bool,
    dry_run: bool,
    json: bool,
    jsonl: bool,
    quiet: bool,
) -> None:
    """Fetch artifacts one after the other; print each folder as soon as it is published.

    Raises:
        UsageError: ``json`` and ``jsonl`` exclude each other, or an option is not allowed.
        NetworkError, IntegrityError, StorageError: see ``esdctl.transfer``.
    """
    if json and jsonl:
        raise UsageError("--json and --jsonl exclude each other")
    options = transfer.options()

    from esdctl.transfer.fetch import fetch
    from esdctl.transfer.plan import plan_transfer

    documents = []
    with reporting(quiet) as reporter:
        plans = [plan_transfer(entry, workspace.root, options, reporter) for entry in artifacts]
        if dry_run:
            return _show_plans(plans, json, jsonl, quiet)
        for plan in plans:
            with _saying_what_is_kept(plan):
                folder = fetch(plan, options, reporter, refresh=refresh)
            if json or jsonl:
                documents.append(_document(plan, folder))
            if jsonl:
                print_json_line(documents[-1])
            elif not json:
                print_path(folder)
    if json:
        print_json(documents)


@contextmanager
def _saying_what_is_kept(plan: "TransferPlan") -> Iterator[None]:
    from esdctl.transfer.staging import Staging

    try:
        yield
    except KeyboardInterrupt:
        kept = Staging(plan.target).size()
        what = f"{kept:,} bytes of {plan.artifact.title} are kept" if kept else "nothing came yet"
        raise Interrupted(f"interrupted; {what}", "run the same command again to go on") from None


def show_artifacts(
    artifacts: "Sequence[Artifact]", workspace: "Workspace", json: bool, quiet: bool
) -> None:
    """The catalogue: a name a line on stdout, a table on stderr; or one JSON document."""
    documents = [
        {
            "name": entry.name,
            "variant": entry.variant,
            "aliases": list(entry.aliases),
            "kind": entry.kind,
            "source": redacted(entry.address),
            "folder": str(workspace.root / entry.folder),
            "present": (workspace.root / entry.folder).is_dir(),
            "about": entry.about,
        }
        for entry in artifacts
    ]
    if json:
        return print_json(documents)
    for entry in artifacts:
        print_line(entry.title)
    if not quiet:
        rows = [
            (entry.title, entry.kind, "yes" if document["present"] else "no", entry.about)
            for entry, document in zip(artifacts, documents, strict=True)
        ]
        show_table(
            f"The catalogue, in {workspace.root}", ("", "kind", "here", "what"), rows, is_text=True
        )
    return None


def _show_plans(plans: "Sequence[TransferPlan]", json: bool, jsonl: bool, quiet: bool) -> None:
    from rich.filesize import decimal

    if not quiet:
        rows = [
            (
                plan.artifact.title,
                "nothing" if plan.is_finished else decimal(plan.bytes_to_move),
                decimal(plan.unpacked),
                decimal(plan.peak_disk),
                decimal(plan.free_disk),
                str(plan.target),
            )
            for plan in plans
        ]
        columns = ("", "to move", "unpacked", "peak disk", "free disk", "folder")
        show_table("Plan", columns, rows)
    if jsonl:
        for plan in plans:
            print_json_line(plan.document())
    else:
        print_document([plan.document() for plan in plans], json)


def _document(plan: "TransferPlan", folder: Path) -> dict[str, object]:
    from esdctl.storage.manifest import read_manifest

    manifest = read_manifest(folder)
    return {
        "name": plan.artifact.name,
        "variant": plan.artifact.variant,
        "kind": plan.artifact.kind,
        "folder": str(folder),
        "source": manifest.source if manifest else "",
        "revision": manifest.revision if manifest else "",
        "files": len(manifest.files) if manifest else 0,
        "bytes": manifest.size if manifest else 0,
        "was_finished": plan.is_finished,
    }
