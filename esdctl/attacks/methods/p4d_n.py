"""P4D-N: a prompt of nothing but found tokens."""

from esdctl.attacks.p4d import P4D, alone

ATTACK = P4D(
    "p4d-n", "a whole prompt of tokens whose prediction is the base's", alone, {"tokens": 16}
)
