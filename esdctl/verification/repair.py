"""Mending: fetch again what a report names as damaged, and nothing else."""

from pathlib import Path

from esdctl.counting import counted
from esdctl.progress import Reporter
from esdctl.storage.lock import target_lock
from esdctl.storage.manifest import MANIFEST_NAME
from esdctl.transfer.fetch import fetch
from esdctl.transfer.fetch import repair as fetch_again
from esdctl.transfer.options import TransferOptions
from esdctl.transfer.plan import plan_transfer
from esdctl.transfer.staging import Staging
from esdctl.verification.checks import Report
from esdctl.verification.lost_manifest import write_manifest_again
from esdctl.verification.targets import Target


def repair(target: Target, report: Report, options: TransferOptions, reporter: Reporter) -> bool:
    """Mend what fetching can mend: damaged files, a damaged manifest, a folder that is missing.

    Files that nobody expected stay: they may be the user's own.

    Returns:
        Whether checking again makes sense.

    Raises:
        NetworkError: the server does not give the files.
        IntegrityError: it gives other ones than the manifest lists.
        InputError: the manifest is lost, and files differ from what the server has.
    """
    artifact, root = target.artifact, target.root
    if artifact is None:
        reporter.warning(f"{target.name} is not in the catalogue, so nothing of it can be fetched")
        return False
    if not report.path.exists():
        fetch(plan_transfer(artifact, root, options, reporter), options, reporter)
        return True
    if MANIFEST_NAME in report.damaged:
        reporter.notice(f"{target.name}: writing the manifest again")
        write_manifest_again(artifact, root, options, reporter)
        return True
    if report.damaged:
        reporter.notice(f"{target.name}: fetching {counted(len(report.damaged), 'file')} again")
        fetch_again(artifact, root, report.damaged, options, reporter)
    _discard_staging(report.path, reporter)
    return True


def _discard_staging(folder: Path, reporter: Reporter) -> None:
    """Remove what a killed transfer left beside a folder that is complete."""
    with target_lock(folder, reporter):
        for purpose in ("staging", "repair"):
            Staging(folder, purpose).discard()
