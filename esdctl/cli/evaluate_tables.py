"""What ``esdctl evaluate`` shows on a terminal: figures, accuracies, detections, what was lost."""

from typing import TYPE_CHECKING

from esdctl.cli.terminal import show_table

if TYPE_CHECKING:
    from esdctl.evaluation.evaluation_report import EvaluationReport
    from esdctl.evaluation.metrics.intervals import Percent

NEIGHBOURS = 8  # of the collateral map; the document has all


def show_report(report: "EvaluationReport") -> None:
    """Tables on stderr: figures of the target, else of all concepts, or detections."""
    protocol = f"{report.protocol_name}; {_conditions(report)}; 95 % intervals"
    if report.detections is not None:
        columns = ("", "model", *(["base"] if report.base_detections else []))
        show_table(f"Detections ({protocol})", columns, _detections(report))
        return
    if report.fidelity:
        rows = [
            (each.name, f"{each.value:.4g}", each.encoder, str(each.n), each.size, each.resize)
            for each in report.fidelity
        ]
        columns = ("", "value", "encoder", "pictures", "size", "resized")
        show_table(f"Distance from the base ({protocol})", columns, rows)
        return
    if not report.targets:
        columns = ("", "model", "pictures")
        show_table(f"Accuracy in percent ({protocol})", columns, _accuracy(report))
        return
    erased = " and ".join(target.name for target in report.targets)
    columns = ("", "erased" if report.base else "model", "base", "of base", "pictures")
    show_table(f"Erasing {erased}, in percent ({protocol})", columns, _figures(report))
    if report.by_group:
        columns = ("of the base's, in percent", "retained", "not retained")
        show_table("What was kept by name, and the rest", columns, _groups(report))
    if report.collateral:
        columns = ("nearest to the target", "erased", "base", "moved", "nearness")
        show_table("Collateral", columns, _neighbours(report))
    lost = _lost_most(report)
    if lost:
        show_table("Lost most, in percent", ("", "erased", "base"), lost)


def _conditions(report: "EvaluationReport") -> str:
    """Who judged, on pictures made how."""
    settings = report.settings
    judged = f"judged by {report.judge}"
    if settings.stored == "given":
        return f"{judged}, pictures of another program"
    named = "DDIM" if settings.scheduler == "ddim" else settings.scheduler
    guidance = "each row's own" if settings.guidance is None else f"{settings.guidance:g}"
    computed = "" if settings.dtype == "fp32" else f", in {settings.dtype}"
    return f"{judged}, {settings.steps} {named} steps, guidance {guidance}{computed}"


def _detections(report: "EvaluationReport") -> list[tuple[str, ...]]:
    found = [each for each in (report.detections, report.base_detections) if each is not None]
    rows: list[tuple[str, ...]] = [
        ("pictures flagged, %", *(_cell(each.pictures_flagged) for each in found)),
        ("detections", *(str(each.detections) for each in found)),
    ]
    labels = [label for label in found[0].by_label if any(each.by_label[label] for each in found)]
    rows += [(label, *(str(each.by_label[label]) for each in found)) for label in labels]
    return rows


def _groups(report: "EvaluationReport") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for target, groups in report.by_group.items():
        label = f" of {target}" if len(report.by_group) > 1 else ""
        kept, rest = groups["retained"], groups["not retained"]
        rows.append(("IRA" + label, _cell(kept.ira), _cell(rest.ira)))
        rows.append(("CRA" + label, _cell(kept.cra), _cell(rest.cra)))
    return rows


def _neighbours(report: "EvaluationReport") -> list[tuple[str, ...]]:
    return [
        (
            each.name,
            _cell(each.accuracy),
            _cell(each.base_accuracy),
            f"{each.moved:.2f}",
            f"{each.nearness:.2f}",
        )
        for each in report.collateral[:NEIGHBOURS]
    ]


def _figures(report: "EvaluationReport") -> list[tuple[str, ...]]:
    """A row a figure, of each target."""
    names = {
        "ua": "UA",
        "ira": "IRA",
        "cra": "CRA",
        "cra_with_target": "CRA, targets' pictures too",
    }
    rows = []
    for target in report.targets:
        of_model = report.model.unlearning[target.name]
        of_base = report.base.unlearning[target.name] if report.base else None
        ratio = report.percent_of_base.get(target.name)
        label = f" of {target.name}" if len(report.targets) > 1 else ""
        for key, name in names.items():
            figure: Percent | None = getattr(of_model, key)
            cells = (figure, getattr(of_base, key, None), getattr(ratio, key, None))
            rows.append((name + label, *map(_cell, cells), str(figure.n) if figure else "0"))
    return rows


def _accuracy(report: "EvaluationReport") -> list[tuple[str, ...]]:
    accuracy = report.model.accuracy
    if accuracy is None:
        return []
    figures = {
        "all styles": accuracy.style,
        "all objects": accuracy.object,
        **accuracy.by_style,
        **accuracy.by_object,
    }
    return [
        (name, _cell(figure), str(figure.n) if figure else "0") for name, figure in figures.items()
    ]


def _lost_most(report: "EvaluationReport", n: int = 3) -> list[tuple[str, ...]]:
    """The other concepts whose accuracy fell most."""
    after = report.model.accuracy
    before = report.base.accuracy if report.base else None
    if after is None or before is None:
        return []
    targets = {target.name for target in report.targets}
    pairs = [
        (name, figure, base[name])
        for mine, base in (
            (after.by_style, before.by_style),
            (after.by_object, before.by_object),
        )
        for name, figure in mine.items()
        if name not in targets
    ]
    lost = [(name, a, b) for name, a, b in pairs if a and b and a.percent < b.percent]
    lost.sort(key=lambda entry: entry[1].percent - entry[2].percent)
    return [(name, _cell(a), _cell(b)) for name, a, b in lost[:n]]


def _cell(figure: "Percent | None") -> str:
    return "-" if figure is None else f"{figure.percent:.1f} [{figure.low:.1f}, {figure.high:.1f}]"
