"""What an evaluation measured, and the protocol that it was measured under, as one document."""

import hashlib
import json
import shlex
import sys
from dataclasses import asdict, dataclass, field

from esdctl.evaluation.figures_file import FORMAT
from esdctl.evaluation.judgements import JudgingSettings
from esdctl.evaluation.metrics.accuracy import Accuracy, ErasedConcept, Retention, Unlearning
from esdctl.evaluation.metrics.collateral import Neighbour
from esdctl.evaluation.metrics.detections import DetectionFigures
from esdctl.evaluation.metrics.fidelity import FidelityFigure
from esdctl.evaluation.protocols.protocol import Protocol
from esdctl.storage.provenance import collect


@dataclass(frozen=True)
class ModelFigures:
    """What was measured of one model.

    Args:
        name, digest: which model.
        rows: the file of its rows.
        pictures: the folder of its pictures; None where none are kept.
        accuracy: by domain and by concept; None where no classifier judged.
        unlearning: by target; empty without one.
    """

    name: str
    digest: str
    rows: str
    pictures: str | None
    accuracy: Accuracy | None = None
    unlearning: dict[str, Unlearning] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationReport:
    """What one judge's verdicts say.

    Args:
        protocol: what decides the figures.
        changes: what the user changed of it, by key.
        judge: by name.
        targets: the erased concepts; none where plain accuracy was measured.
        settings: how pictures were made and judged.
        seeds: as the user or the protocol gave them.
        pictures: of each model.
        model: the model that was named.
        base: what it was erased from; None where it is a base itself.
        percent_of_base: IRA and CRA in percent of the base's own, by target.
        confusion: asked -> predicted -> pictures, by domain.
        collateral: every other concept, the target's nearest first.
        by_group: IRA and CRA of what was kept by name, and of the rest; empty where all was.
        detections, base_detections: what a detector found.
        fidelity: distances from the base's pictures.
        file: where the document lies; "" before it is written.
    """

    protocol: Protocol
    changes: dict[str, str]
    judge: str
    targets: tuple[ErasedConcept, ...]
    settings: JudgingSettings
    seeds: tuple[int, ...]
    pictures: int
    model: ModelFigures
    base: ModelFigures | None
    percent_of_base: dict[str, Retention] = field(default_factory=dict)
    confusion: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    collateral: tuple[Neighbour, ...] = ()
    by_group: dict[str, dict[str, Retention]] = field(default_factory=dict)
    detections: DetectionFigures | None = None
    base_detections: DetectionFigures | None = None
    fidelity: tuple[FidelityFigure, ...] = ()
    file: str = ""

    @property
    def protocol_name(self) -> str:
        """Such as ``pocket v1``, or ``pocket v1, changed: seeds 1,2``."""
        changes = "; ".join(f"{key} {value}" for key, value in self.changes.items())
        named = f"{self.protocol.name} v{self.protocol.version}"
        return f"{named}, changed: {changes}" if changes else named

    @property
    def asked(self) -> str:
        """16 digits that stand for protocol, changes, judge and targets."""
        asked = [
            self.protocol.digest,
            self.changes,
            self.settings.document(),
            [asdict(target) for target in self.targets],
        ]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]

    def document(self) -> dict[str, object]:
        """The figures document; ``esdctl guide evaluation`` explains it."""
        base = self.base
        provenance = collect(sys.argv)
        versions, command = provenance["versions"], provenance["command_line"]
        return {
            "format": FORMAT,
            "protocol": {
                "name": self.protocol.name,
                "version": self.protocol.version,
                "digest": self.protocol.digest,
                "source": self.protocol.source,
                "departs": self.protocol.departs,
                "changes": self.changes,
            },
            "judge": self.judge,
            "judge_digest": self.settings.classifier,
            "model": _maker(self.model),
            "base": None if base is None else _maker(base),
            "targets": [asdict(target) for target in self.targets],
            "sampling": {
                key: value for key, value in asdict(self.settings).items() if key != "classifier"
            },
            "seeds": list(self.seeds),
            "count": self.pictures,
            "unlearning": _plain(self.model.unlearning),
            "base_unlearning": None if base is None else _plain(base.unlearning),
            "percent_of_base": _plain(self.percent_of_base),
            "accuracy": asdict(self.model.accuracy) if self.model.accuracy else None,
            "base_accuracy": asdict(base.accuracy) if base and base.accuracy else None,
            "confusion": self.confusion,
            "collateral": [asdict(each) for each in self.collateral],
            "by_group": {name: _plain(groups) for name, groups in self.by_group.items()},
            "detections": self._detections(),
            "fidelity": [asdict(figure) for figure in self.fidelity],
            "version": versions["esdctl"] if isinstance(versions, dict) else None,
            "date": provenance["time"],
            "command": shlex.join(command) if isinstance(command, list) else str(command),
        }

    def _detections(self) -> list[dict[str, object]]:
        if self.detections is None:
            return []
        found, base = self.detections, self.base_detections
        return [
            {
                "judge": self.judge,
                "protocol": self.protocol.name,
                "labels": list(found.by_label),
                "threshold": self.protocol.counts.threshold,
                "pictures": asdict(found.pictures_flagged) if found.pictures_flagged else None,
                "detections": found.detections,
                "by_label": found.by_label,
                "base_pictures": asdict(base.pictures_flagged)
                if base and base.pictures_flagged
                else None,
                "base_detections": base.detections if base else None,
            }
        ]


def _maker(figures: ModelFigures) -> dict[str, object]:
    return {
        "name": figures.name,
        "digest": figures.digest,
        "rows": figures.rows,
        "pictures": figures.pictures,
    }


def _plain(figures: "dict[str, Unlearning] | dict[str, Retention]") -> dict[str, object]:
    return {name: asdict(each) for name, each in figures.items()}
