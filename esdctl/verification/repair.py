"""Mending: fetch again what a report names as damaged, and nothing else."""

from esdctl.progress import Reporter
from esdctl.storage.manifest import MANIFEST_NAME
from esdctl.transfer.fetch import fetch
from esdctl.transfer.fetch import repair as fetch_again
from esdctl.transfer.options import TransferOptions
from esdctl.transfer.plan import plan_transfer
from esdctl.verification.checks import Report
from esdctl.verification.targets import Target


def repair(target: Target, report: Report, options: TransferOptions, reporter: Reporter) -> bool:
    """Mend what fetching can mend: damaged files, a damaged manifest, a folder that is missing.

    Files that nobody expected stay: they may be the user's own.

    Returns:
        Whether anything was fetched, so that checking again makes sense.

    Raises:
        NetworkError: the server does not give the files.
        IntegrityError: it gives other ones than the manifest lists.
    """
    if target.artifact is None:
        reporter.warning(f"{target.name} is not in the catalogue, so nothing of it can be fetched")
        return False
    if not report.path.exists() or MANIFEST_NAME in report.damaged:
        plan = plan_transfer(target.artifact, target.root, options, reporter)
        fetch(plan, options, reporter, refresh=report.path.exists())
        return True
    if not report.damaged:
        return False
    reporter.notice(f"{target.name}: fetching {len(report.damaged)} files again")
    fetch_again(target.artifact, target.root, report.damaged, options, reporter)
    return True
