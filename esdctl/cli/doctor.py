"""``esdctl doctor``: what this installation has, and what is missing for what."""

import os
from itertools import groupby

from esdctl.cli.options import JsonOption, RootOption
from esdctl.cli.output import print_json, print_line
from esdctl.errors import CheckFailed


def doctor(root: RootOption = None, json: JsonOption = False) -> None:
    """Tell versions, devices, disk, hub, caches, extras, models, judges, and what is missing.

    Exit 1 if something is broken that every command needs; what is merely absent is no fault. A
    token is told to be there, never shown.
    """
    from esdctl.evaluation.usable import usable_judges
    from esdctl.storage.workspace import find_workspace
    from esdctl.verification.installation import Finding, examine

    workspace = find_workspace(root)
    findings = examine(workspace, os.environ)
    for judge in usable_judges(workspace.models):
        findings.append(Finding("judges", judge.name, judge.found, judge.advice))
    if json:
        print_json([finding.document() for finding in findings])
    else:
        for group, members in groupby(findings, key=lambda finding: finding.group):
            print_line(group)
            for finding in members:
                mark = "BROKEN: " if finding.is_broken else ""
                print_line(f"  {mark}{finding.name}: {finding.found}")
                if finding.advice:
                    print_line(f"      {finding.advice}")
    broken = [finding.name for finding in findings if finding.is_broken]
    if broken:
        raise CheckFailed(f"broken: {', '.join(broken)}", "mend these first; the lines say how")
