"""All hostile ZIPs, each with the name of one attack and the message that refuses it.

``RULES`` are refused by the rules alone, on bytes; ``CONTENTS`` by whoever unpacks.
"""

from tests.attacks.attack import Attack
from tests.attacks.hostile_members import CONTENTS, MEMBERS
from tests.attacks.hostile_names import NAMES
from tests.attacks.hostile_structures import STRUCTURES

RULES: tuple[Attack, ...] = (*NAMES, *MEMBERS, *STRUCTURES)

__all__ = ["CONTENTS", "RULES", "Attack"]
