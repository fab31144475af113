"""Which judge sees a model's pictures: each file here that defines ``JUDGE`` is one."""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from esdctl.errors import InputError
from esdctl.evaluation import judges
from esdctl.evaluation.judges.judge import Classifier, Judge
from esdctl.models.resolve import Pipeline
from esdctl.settings.choice import one_of


def find_classifier(pipeline: Pipeline, models: Path, wanted: str | None) -> Classifier:
    """The classifier that judges a model's pictures; none of its weights is read yet.

    Args:
        pipeline: the model.
        models: the workspace's folder of models.
        wanted: a judge's name; None takes the one that the model brings, else the first that is
            there.

    Raises:
        InputError: there is no such classifier, or it is no classifier of this kind.
        IntegrityError: a file is damaged, or would run code.
    """
    known = known_judges()
    candidates = list(known.values()) if wanted is None else [known[wanted]]
    for judge in candidates:
        classifier = judge.find(pipeline, models)
        if classifier is not None:
            return classifier
    errors = [judge.missing(pipeline, models) for judge in candidates]
    raise InputError("; ".join(error.message for error in errors), errors[-1].hint)


def known_judges() -> dict[str, Judge]:
    """The judges by name; those that come with a model first."""
    modules = (import_module(f"{judges.__name__}.{each.name}") for each in iter_modules(_folder()))
    found = [judge for each in modules if isinstance(judge := getattr(each, "JUDGE", None), Judge)]
    found.sort(key=lambda judge: (not judge.comes_with_model, judge.name))
    return {judge.name: judge for judge in found}


def parse_classifier(text: str) -> str:
    """Read a judge's name, in any case.

    Raises:
        UsageError: there is no such judge; says which there are.
    """
    return one_of("--judge", text, list(known_judges()))


def _folder() -> list[str]:
    return list(judges.__path__)
