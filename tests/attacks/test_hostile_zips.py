"""Hostile ZIPs: the rules refuse each with its own message."""

import re

import pytest

from esdctl.errors import IntegrityError
from tests.attacks.reading import read_archive
from tests.attacks.zips import CONTENTS, RULES, Attack


@pytest.mark.parametrize("attack", RULES, ids=[attack.name for attack in RULES])
def test_the_rules_refuse(attack: Attack) -> None:
    with pytest.raises(IntegrityError, match=re.escape(attack.message)) as caught:
        read_archive(attack.data())
    assert caught.value.hint
    assert caught.value.message.isprintable()


def test_there_are_many_attacks_and_no_two_alike() -> None:
    every = (*RULES, *CONTENTS)
    assert len(every) >= 120
    assert len({attack.name for attack in every}) == len(every)
    assert len({attack.data() for attack in every}) == len(every)
