"""A tiny model with a classifier, and an erasure of it: the evaluation's own fixtures."""

from tests.evaluation.conftest import base, classifier, erased

__all__ = ["base", "classifier", "erased"]
