"""P4D-K: found tokens between those of the plain prompt."""

from esdctl.attacks.p4d import P4D, between

ATTACK = P4D("p4d-k", "tokens between the plain prompt's, likewise", between, {"every": 3})
