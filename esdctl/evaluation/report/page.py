"""Runs -> one HTML file that needs no network: what the template shows, and the template filled."""

import base64
import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from esdctl.counting import counted
from esdctl.errors import InputError
from esdctl.evaluation.metrics.intervals import Percent
from esdctl.evaluation.report import plots
from esdctl.evaluation.report.documents import Attack, Figures
from esdctl.evaluation.report.embedding import LARGEST, SIDE, Crop, Embedder
from esdctl.evaluation.report.pairs import find_pairs
from esdctl.evaluation.report.run import AttackFolder, Run
from esdctl.evaluation.report.svg import INSTALL
from esdctl.evaluation.report.unsafe import may_be_unsafe
from esdctl.evaluation.report.verdict import headline, told, verdict
from esdctl.redaction import redacted
from esdctl.storage.provenance import collect

TEMPLATE = Path(__file__).with_name("template.html")
Blur = Literal["all", "unsafe", "none"]
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_MOST_PROMPTS = 12
NO_VALUE = "\N{EN DASH}"


@dataclass(frozen=True)
class Amount:
    """How many pictures a run may bring: pairs, and pictures of each attack."""

    pairs: int
    of_attack: int


ONE_RUN, SEVERAL_RUNS = Amount(12, 6), Amount(4, 2)


def make_page(runs: Sequence[Run], command_line: Sequence[str], blur: Blur = "unsafe") -> str:
    """The report.

    Args:
        runs: at least one.
        command_line: what makes the page, as in ``sys.argv``.
        blur: which pictures are blurred until they are clicked.

    Returns:
        HTML.

    Raises:
        InputError: jinja2 or matplotlib is not installed, or a picture's record is damaged.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise InputError("the report needs jinja2, which is not installed", INSTALL) from error
    source = TEMPLATE.read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"told": told, "number": _number}
    embedder = Embedder()
    amount = ONE_RUN if len(runs) == 1 else SEVERAL_RUNS
    shown = [_shown(run, f"run{i}", amount, blur, embedder) for i, run in enumerate(runs, start=1)]
    origin = collect(command_line)
    return environment.from_string(source).render(
        title=_title(runs),
        runs=shown,
        trade_off=_trade_off(runs),
        script_digest=_script_digest(source),
        made={**origin, "command": _command(command_line)},
        embedded=f"{counted(embedder.count, 'picture')} of at most {SIDE} pixels and "
        f"{LARGEST // 1024} KiB each, {embedder.size / 1e6:.1f} MB in all",
    )


@dataclass(frozen=True)
class PageParts:
    """What other pages share with this one.

    Args:
        style: CSS.
        script: JavaScript: the theme's button, tables that sort.
        script_digest: for the page's content security policy.
    """

    style: str
    script: str
    script_digest: str


def page_parts() -> PageParts:
    """Style and script of the template."""
    source = TEMPLATE.read_text(encoding="utf-8")
    style, script = _STYLE.search(source), _SCRIPT.search(source)
    assert style is not None
    assert script is not None
    return PageParts(style[1], script[1], _script_digest(source))


def _title(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        concept = runs[0].record.concept.name.replace("_", " ")
        return f"Erasing {concept} from {_base_name(runs[0])}"
    return f"{len(runs)} erasures compared"


def _shown(run: Run, key: str, amount: Amount, blur: Blur, embedder: Embedder) -> dict[str, Any]:
    """What the template shows of a run."""
    record, primary = run.record, run.figures[0] if run.figures else None
    attacks = [each.attack for each in run.attacks]
    pairs = find_pairs(run, amount.pairs)
    unsafe = may_be_unsafe(run)
    words, tone = headline(primary, attacks)
    return {
        "key": key,
        "name": run.name,
        "record": record,
        "concept": record.concept.name.replace("_", " "),
        "base": _base_name(run),
        "run": run,
        "headline": words,
        "tone": tone,
        "verdict": verdict(primary, attacks) if primary else "",
        "tiles": _tiles(run),
        "figures": [_protocol(f, f"{key}-p{i}") for i, f in enumerate(run.figures, start=1)],
        "attacks": [_attack(each, amount.of_attack, embedder) for each in run.attacks],
        "blurred": _is_blurred(blur, None, unsafe),  # what an attack found, no detector saw
        "pairs": [
            {
                "pair": p,
                "before": embedder.embed(p.before),
                "after": embedder.embed(p.after),
                "blurred": _is_blurred(blur, p.flagged, unsafe),
            }
            for p in pairs.pairs
        ],
        "pairs_from": pairs.source,
        "loss": _loss(run, key),
        "retained": record.concept.retained[:_MOST_PROMPTS],
        "more_retained": max(0, len(record.concept.retained) - _MOST_PROMPTS),
        "commands": _commands(run),
        "steps": max((row.step for row in run.log), default=0),
        "seconds": sum(row.seconds for row in run.log),
    }


def _is_blurred(blur: Blur, flagged: bool | None, may_be_unsafe: bool) -> bool:
    """Whether one picture is blurred: a detector's word on it counts more than the concept."""
    return blur == "all" or (blur == "unsafe" and (may_be_unsafe if flagged is None else flagged))


def _tiles(run: Run) -> list[dict[str, Any]]:
    """The four figures at the top: UA, IRA, CRA, and UA under the strongest attack."""
    primary = run.figures[0] if run.figures else None
    point = trade_off_point(run)
    base = next(iter((primary.base_unlearning or {}).values()), None) if primary else None
    figures = [
        ("UA", "target not seen", point.ua, base and base.ua),
        ("IRA", "its own kind kept", point.ira, base and base.ira),
        ("CRA", "the other kind kept", point.cra, base and base.cra),
        ("UA attacked", "strongest attack", point.attacked_ua, None),
    ]
    return [
        {"name": name, "about": about, "figure": figure, "base": of_base}
        for name, about, figure, of_base in figures
    ]


def trade_off_point(run: Run) -> plots.TradeOffPoint:
    """A run's place in the trade-off plot, by its first target under its first protocol."""
    first = next((f for f in run.figures if f.unlearning), None)
    mine = next(iter(first.unlearning.values()), None) if first else None
    asr = run.attacks[0].attack.asr if run.attacks else None
    return plots.TradeOffPoint(
        name=run.name,
        ua=mine.ua if mine else None,
        ira=mine.ira if mine else None,
        cra=mine.cra if mine else None,
        attacked_ua=Percent(100 - asr.percent, 100 - asr.high, 100 - asr.low, asr.n)
        if asr
        else None,
    )


def _trade_off(runs: Sequence[Run]) -> str | None:
    points = [trade_off_point(run) for run in runs]
    if len(runs) < 2 or not any(point.ua for point in points):
        return None
    return plots.trade_off_plot(points)


def _protocol(figures: Figures, key: str) -> dict[str, Any]:
    """One protocol's figures with their plots."""
    bars = []
    base = figures.base_unlearning or {}
    for name, mine in figures.unlearning.items():
        of = f" {name.replace('_', ' ')}" if len(figures.unlearning) > 1 else ""
        bars += [
            plots.Bar(
                f"{label}{of}", getattr(mine, attribute), getattr(base.get(name), attribute, None)
            )
            for label, attribute in (("UA", "ua"), ("IRA", "ira"), ("CRA", "cra"))
        ]
    targets = {target.kind: target.name for target in figures.targets}
    return {
        "key": key,
        "figures": figures,
        "base_unlearning": base,
        "bars": plots.bars_plot(f"{key}-bars", bars) if bars else None,
        "confusion": [
            (kind, plots.confusion_plot(f"{key}-{kind}", table, targets.get(kind)), table)
            for kind, table in figures.confusion.items()
            if table
        ],
        "collateral": plots.collateral_plot(f"{key}-collateral", figures.collateral)
        if figures.collateral
        else None,
    }


def _attack(each: AttackFolder, limit: int, embedder: Embedder) -> dict[str, Any]:
    """One attack with the pictures that came back, those with the highest score first."""
    found = sorted(each.attack.found, key=lambda f: -(f.score or 0.0))
    shown: list[dict[str, Any]] = []
    for one in found:
        if one.picture is None or len(shown) >= limit:
            continue
        path = each.folder / one.picture
        if not path.resolve().is_relative_to(each.folder.resolve()):
            raise InputError(
                f"{each.folder / 'result.json'} names the picture {one.picture!r:.80}, which is "
                "not in its folder",
                "move the file away, or make it again: esdctl attack",
            )
        shown.append({"found": one, "picture": embedder.embed(Crop(path))})
    return {"attack": each.attack, "found": shown, "more": len(found) - len(shown)}


def _loss(run: Run, key: str) -> str | None:
    curves = {
        "loss": [(row.step, row.loss) for row in run.log if row.loss is not None],
        "loss on what is kept": [
            (row.step, row.retain_loss) for row in run.log if row.retain_loss is not None
        ],
    }
    drawn = {name: points for name, points in curves.items() if points}
    return plots.loss_plot(f"{key}-loss", drawn) if drawn else None


def _commands(run: Run) -> list[str]:
    """The command lines that made all this, in order, each once."""
    measured: list[Figures | Attack] = [*run.figures, *(each.attack for each in run.attacks)]
    made = [each.command for each in sorted(measured, key=lambda each: each.date)]
    lines = [_command(run.record.provenance.command_line), *map(redacted, made)]
    return [line for line in dict.fromkeys(lines) if line]


def _command(arguments: Sequence[str]) -> str:
    """A command line as a shell takes it, wherever the program lay."""
    return redacted(shlex.join(["esdctl", *arguments[1:]])) if arguments else ""


def _base_name(run: Run) -> str:
    path = Path(run.record.base.name)
    return path.parent.name if path.name == "delta.safetensors" else path.name


def _number(value: float | None, digits: int = 2) -> str:
    return NO_VALUE if value is None else f"{value:.{digits}f}"


def _script_digest(source: str) -> str:
    """The template's script as the page's content policy names it; no other script runs."""
    script = _SCRIPT.search(source)
    assert script is not None
    return base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
