"""A tiny model with a classifier: the evaluation's own fixtures."""

from tests.evaluation.conftest import base, classifier

__all__ = ["base", "classifier"]
