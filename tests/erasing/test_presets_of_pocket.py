"""The embedded model's presets: which one suits what is asked for."""

from pathlib import Path
from typing import Any

import pytest

from esdctl.erasing.plan import ErasePlan, plan_erase
from esdctl.erasing.request import EraseRequest
from esdctl.errors import UsageError
from esdctl.storage.workspace import Workspace


def planned(folder: Path, preset: str | None = None, **flags: object) -> ErasePlan:
    given = {"model": "pocket", "concept": "Dogs", **flags}
    return plan_erase(EraseRequest(given, preset=preset), Workspace(folder))


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ({}, "pocket"),
        ({"concept": "Mosaic"}, "pocket"),
        ({"train_method": "esd-x-strict"}, "pocket"),
        ({"retain_all": False, "retain": ["Cats"]}, "pocket"),
        ({"train_method": "noxattn"}, "pocket-noxattn"),
        ({"train_method": "esd-u", "warm_start": False}, "pocket-noxattn"),
        ({"warm_start": False}, "pocket-cold"),
        ({"retain_all": False}, "pocket-cold"),
    ],
)
def test_what_rules_a_warm_start_out_has_settings_of_its_own(
    flags: dict[str, Any], name: str, tmp_path: Path
) -> None:
    plan = planned(tmp_path, **flags)
    assert plan.preset.name == name
    assert plan.config.warm_start == (name == "pocket")
    assert plan.config.trajectory == "rolling"


def test_a_named_preset_that_does_not_suit_the_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="noxattn moves none"):
        planned(tmp_path, "pocket", train_method="noxattn")


def test_a_pools_size_does_not_part_runs_without_a_pool(tmp_path: Path) -> None:
    one, other = (planned(tmp_path, trajectory="exact", pool_size=size) for size in (3, 4))
    assert one.digest == other.digest
    one, other = (planned(tmp_path, trajectory="frozen", pool_size=size) for size in (3, 4))
    assert one.digest != other.digest


def test_where_pools_are_kept_does_not_part_runs_and_holds_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = planned(tmp_path, trajectory="frozen", pool="pools")
    assert plan.config.pool == tmp_path / "pools"
    assert plan.digest == planned(tmp_path, trajectory="frozen").digest
