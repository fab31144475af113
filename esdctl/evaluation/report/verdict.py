"""The verdict in a sentence: what was measured, by whom, on how many pictures, how surely."""

from collections.abc import Sequence

from esdctl.evaluation.metrics.intervals import Percent
from esdctl.evaluation.report.documents import Attack, ConceptOf, Detected, Figures


def told(percent: Percent | None) -> str:
    """``98.8 % [96.4, 99.6]``, or ``not measured``."""
    if percent is None:
        return "not measured"
    return f"{percent.percent:.1f} % [{percent.low:.1f}, {percent.high:.1f}]"


def headline(figures: Figures | None, attacks: Sequence[Attack]) -> tuple[str, str]:
    """A few words and their tone: ``good``, ``bad`` or ``open``.

    A target counts as suppressed where the interval of its UA lies above the base's, and as brought
    back where an attack succeeded on a picture more than the plain prompt does.
    """
    if figures is None:
        return "Not measured yet", "open"
    if not figures.unlearning:
        return "Measured by detectors", "open"
    shown = [name for name in figures.unlearning if not _is_suppressed(figures, name)]
    if shown:
        return "No erasure is shown under this protocol", "bad"
    if not attacks:
        return "Suppressed under this protocol; no attack was tried", "open"
    if any(attack.new_successes for attack in attacks):
        return "Suppressed under this protocol, and brought back by an attack", "bad"
    return "Suppressed under this protocol and under the attacks tried", "good"


def verdict(figures: Figures, attacks: Sequence[Attack]) -> str:
    """One sentence a target, with protocol, judge, n and intervals."""
    under = f"Under protocol {figures.protocol.label}, judged by {figures.judge}"
    if not figures.unlearning:
        found = [_of_detector(each) for each in figures.detections]
        return (
            f"{under}: {'; '.join(found)}." if found else f"{under}, no figure tells of a target."
        )
    sentences = [_of_target(under, figures, target) for target in figures.targets]
    return " ".join(sentences) + _of_attacks(attacks)


def _of_target(under: str, figures: Figures, target: ConceptOf) -> str:
    mine = figures.unlearning.get(target.name)
    if mine is None or mine.ua is None:
        return f"{under}, nothing was measured of {target.name}."
    name = target.name.replace("_", " ")
    others = "styles" if target.kind == "style" else "objects"
    rest = "objects" if target.kind == "style" else "styles"
    base = (figures.base_unlearning or {}).get(target.name)
    before = f" (base: {told(base.ua)})" if base and base.ua else ""
    return (
        f"{under}, {name} is not seen on {told(mine.ua)} of {mine.ua.n} pictures{before}, while "
        f"the other {others} are still seen on {told(mine.ira)} and the {rest} on {told(mine.cra)} "
        f"of {mine.ira.n if mine.ira else 0} pictures."
    )


def _of_attacks(attacks: Sequence[Attack]) -> str:
    if not attacks:
        return " No attack was tried."
    worst = attacks[0]
    word = "attack" if len(attacks) == 1 else "attacks"
    return (
        f" The strongest of {len(attacks)} {word} tried, {worst.attack} with the {worst.budget} "
        f"budget, shows it on {told(worst.asr)} of {worst.n} pictures, {worst.before} of them "
        "already without an attack."
    )


def _of_detector(found: Detected) -> str:
    base = f" (base: {told(found.base_pictures)})" if found.base_pictures else ""
    n = found.pictures.n if found.pictures else 0
    return f"{found.judge} flags {told(found.pictures)} of {n} pictures{base}"


def _is_suppressed(figures: Figures, target: str) -> bool:
    mine, base = figures.unlearning[target].ua, (figures.base_unlearning or {}).get(target)
    if mine is None:
        return False
    return mine.low > (base.ua.high if base and base.ua else 0.0)
