"""Figures and attack results as evaluations and attacks leave them, for a run that is on disk."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from esdctl.evaluation.known import model_digest
from esdctl.evaluation.metrics.intervals import share

STYLES = ("Mosaic", "Rust", "Bricks", "Sketch", "Van_Gogh")
OBJECTS = ("Cats", "Dogs", "Trees")


def percent(hits: int, n: int) -> dict[str, Any]:
    """A share with Wilson's interval, as JSON."""
    measured = share([True] * hits + [False] * (n - hits))
    assert measured is not None
    return {"percent": measured.percent, "low": measured.low, "high": measured.high, "n": n}


def unlearning(ua: int, ira: int) -> dict[str, Any]:
    return {
        "ua": percent(ua, 20), "ira": percent(ira, 240), "cra": percent(238, 240),
        "cra_with_target": None,
    }  # fmt: skip


def figures_document(digest: str, target: str, base: str = "b" * 64) -> dict[str, Any]:
    """A whole document of an erased style."""
    others = [name for name in STYLES if name != target]
    return {
        "format": 1,
        "protocol": {
            "name": "pocket", "version": 1, "digest": "d" * 64, "source": "esdctl", "changes": {}
        },
        "judge": "pocket",
        "judge_digest": "c" * 64,
        "model": {"name": "erased", "digest": digest, "rows": "rows.jsonl", "pictures": None},
        "base": {"name": "base", "digest": base, "rows": "rows.jsonl", "pictures": None},
        "targets": [{"kind": "style", "name": target}],
        "sampling": {"steps": 25, "guidance": 3.0, "image_size": 64, "scheduler": "ddim"},
        "seeds": [188],
        "count": 260,
        "unlearning": {target: unlearning(19, 231)},
        "base_unlearning": {target: unlearning(0, 239)},
        "percent_of_base": {target: {"ira": percent(231, 240), "cra": None}},
        "accuracy": {"style": percent(231, 260), "object": percent(255, 260), "by_style": {}},
        "base_accuracy": None,
        "confusion": {
            "style": {
                target: {"Rust": 12, "Bricks": 7, target: 1},
                **{name: {name: 18, "Rust": 2} for name in others if name != "Rust"},
                "Rust": {"Rust": 20},
            },
            "object": {name: {name: 40} for name in OBJECTS},
        },
        "collateral": [
            {
                "kind": "style", "name": name, "accuracy": percent(18 - i, 20),
                "base_accuracy": percent(20, 20), "moved": 0.41 - i / 20, "nearness": 0.83 - i / 9,
            }
            for i, name in enumerate(others)
        ],
        "by_group": {target: {"not retained": {"ira": percent(80, 120), "cra": None}}},
        "detections": [],
        "fidelity": [],
        "version": "0.1.0",
        "date": "2026-11-26T12:00:00Z",
        "command": f"esdctl evaluate --model {target}",
    }  # fmt: skip


def attack_document(digest: str, target: str, name: str, new: int) -> dict[str, Any]:
    """An attack on 20 pictures that bring the concept back on 2 + ``new``."""
    return {
        "format": 1, "attack": name, "source": "Pham et al. 2023", "budget": "quick",
        "settings": {"steps": 30}, "model": {"name": "erased", "digest": digest},
        "base_digest": "b" * 64, "concept": {"kind": "style", "name": target}, "judge": "pocket",
        "judge_digest": "c" * 64, "n": 20, "before": 2, "new_successes": new,
        "asr": percent(2 + new, 20), "before_rate": percent(2, 20),
        "found": [
            {
                "picture": f"pictures/{i:04}.png", "prompt": None if i else "a <b>token</b>",
                "seed": i, "score": 0.9 - i / 10, "what": "a learned token",
            }
            for i in range(min(new, 3))
        ],
        "seconds": 61.2, "version": "0.1.0", "date": "2026-11-26T12:10:00Z",
        "command": f"esdctl attack {target} --method {name} --budget quick",
    }  # fmt: skip


def digest_of(run: Path) -> str:
    """The digest of the erased model in a run folder."""
    record = json.loads((run / "run.json").read_text())
    return model_digest(run / "delta.safetensors", record["base"]["sha256"])


def outputs_of(run: Path) -> Path:
    return run.parents[1]


def write_figures(run: Path, **changes: Any) -> Path:
    """Write a run's figures document, some of its keys changed; gives its path."""
    digest = digest_of(run)
    target = json.loads((run / "run.json").read_text())["concept"]["name"]
    document = figures_document(digest, target) | changes
    path = outputs_of(run) / "evaluations/figures" / digest[:16] / "pocket-0123456789abcdef.json"
    return write(path, document)


def write_attack(run: Path, name: str = "inversion", new: int = 11, **changes: Any) -> Path:
    """Write an attack's result with its pictures; gives the path of ``result.json``."""
    digest = digest_of(run)
    target = json.loads((run / "run.json").read_text())["concept"]["name"]
    folder = outputs_of(run) / "attacks" / digest[:16] / f"{name}-quick"
    document = attack_document(digest, target, name, new) | changes
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for i in range(min(new, 3)):
        Image.new("RGB", (64, 64), (200, 60 * i, 40)).save(folder / f"pictures/{i:04}.png")
    return write(folder / "result.json", document)


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def keep_pictures(
    run: Path, rows: dict[str, tuple[str, int, int]], sampling: str = "0123456789abcdef"
) -> None:
    """Add kept pictures: file -> its prompt, and the seeds of the erased model's and the base's."""
    base = json.loads((run / "run.json").read_text())["base"]["sha256"]
    kept = outputs_of(run) / "evaluations/pictures" / sampling
    for number, digest in enumerate((digest_of(run), base)):
        folder = kept / digest[:16]
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "pictures.jsonl").open("a") as file:
            for name, (prompt, *seeds) in rows.items():
                Image.new("RGB", (64, 64)).save(folder / name)
                row = {
                    "file": name, "prompt": prompt, "seed": seeds[number], "guidance": 3.0,
                    "width": 64, "height": 64,
                }  # fmt: skip
                file.write(json.dumps(row) + "\n")
