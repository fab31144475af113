"""What is wrong with a folder on disk is found, and its file is named."""

import hashlib
import random
import shutil
from pathlib import Path

import pytest

from esdctl.catalog.artifacts import load_catalog
from esdctl.errors import InputError, UsageError
from esdctl.progress import Silent
from esdctl.storage.manifest import MANIFEST_NAME
from esdctl.storage.workspace import Workspace
from esdctl.verification.checks import Check, Report
from esdctl.verification.targets import find_targets, verify_target
from tests.verification.conftest import (
    files_of,
    flip,
    publish,
    tensor_entry,
    write_safetensors,
)

INDEX = "style50/model_index.json"
UNET = "style50/unet/diffusion_pytorch_model.safetensors"


def verify(workspace: Workspace, *names: str, deep: bool = False) -> list[Report]:
    targets = find_targets(names, load_catalog(None), workspace)
    return [verify_target(target, deep, Silent()) for target in targets]


def failures(reports: list[Report]) -> list[Check]:
    return [check for report in reports for check in report.failures]


def test_a_whole_workspace_passes(workspace: Workspace) -> None:
    reports = verify(workspace, deep=True)
    assert [report.name for report in reports] == ["diffuser", "i2p --sample"]
    assert failures(reports) == []
    assert {check.name for report in reports for check in report.checks} == {
        "manifest", "complete", "size", "sha256", "unexpected files", "named files",
        "safetensors headers", "I2P table", "pictures", "leftovers",
    }  # fmt: skip


def test_a_flipped_bit_anywhere_names_its_file(workspace: Workspace) -> None:
    draw = random.Random(7)
    for name, path in files_of(workspace).items():
        whole = path.read_bytes()
        for place in {0, len(whole) - 2, *(draw.randrange(len(whole)) for _ in range(6))}:
            flip(path, place)
            found = [report for report in verify(workspace) if not report.passed]
            assert len(found) == 1, (name, place)
            named = {(found[0].path / file).as_posix() for file in found[0].damaged}
            assert named == {path.as_posix()}, (name, place)
            path.write_bytes(whole)


def test_a_missing_and_a_short_file_are_told_apart(workspace: Workspace) -> None:
    folder = workspace.models / "diffuser"
    (folder / INDEX).unlink()
    (folder / UNET).write_bytes(b"")
    (report,) = verify(workspace, "diffuser")
    told = {(check.name, check.measured, check.file) for check in report.failures}
    assert ("complete", "missing", INDEX) in told
    assert ("size", "0", UNET) in told
    assert report.damaged == (INDEX, UNET)


def test_a_stranger_is_named_and_is_no_damage(workspace: Workspace) -> None:
    (workspace.models / "diffuser/style50/.DS_Store").write_bytes(b"x")
    (report,) = verify(workspace, "diffusers")
    (failure,) = report.failures
    assert (failure.name, failure.file) == ("unexpected files", "style50/.DS_Store")
    assert report.damaged == ()


@pytest.mark.parametrize("leftover", ["diffuser.zip", ".diffuser.host-4711-0.partial"])
def test_a_leftover_beside_the_folder_is_named(workspace: Workspace, leftover: str) -> None:
    (workspace.models / leftover).write_bytes(b"PK")
    (workspace.models / ".diffuser.lock").touch()
    (failure,) = failures(verify(workspace, "diffuser"))
    assert (failure.name, failure.file) == ("leftovers", f"../{leftover}")


def test_the_copy_of_a_checkpoint_that_was_read_is_no_stranger(workspace: Workspace) -> None:
    folder = workspace.models / "diffuser"
    (folder / "model.ckpt").write_bytes(b"weights")
    publish(folder, "diffuser")
    digest = hashlib.sha256(b"weights").hexdigest()
    shutil.copy(folder / UNET, folder / f".model.ckpt.{digest[:16]}.safetensors")
    (folder / ".model.ckpt.lock").touch()
    assert not failures(verify(workspace))
    shutil.copy(folder / UNET, folder / f".model.ckpt.{'0' * 16}.safetensors")
    assert len(failures(verify(workspace))) == 1


def test_a_folder_without_its_manifest_fails(workspace: Workspace) -> None:
    (workspace.models / "diffuser" / MANIFEST_NAME).unlink()
    (report,) = verify(workspace, "diffuser")
    assert [(check.name, check.measured) for check in report.failures] == [("manifest", "missing")]
    assert report.damaged == (MANIFEST_NAME,)


def test_a_manifest_that_lacks_the_named_file_is_not_enough(workspace: Workspace) -> None:
    folder = workspace.models / "diffuser"
    (folder / INDEX).unlink()
    publish(folder, "diffuser")
    (failure,) = failures(verify(workspace, "diffuser"))
    assert (failure.name, failure.file) == ("named files", INDEX)


@pytest.mark.parametrize(
    ("header", "data", "told"),
    [
        (f'{{"a":{tensor_entry(0, 4)},"a":{tensor_entry(0, 4)}}}', b"1234", "'a' is there twice"),
        (f'{{"a":{tensor_entry(0, 9)}}}', b"1234", ""),
        ('{"a":', b"", ""),
        ("", b"", ""),
    ],
)
def test_an_unsound_header_fails_though_its_digest_is_right(
    workspace: Workspace, header: str, data: bytes, told: str
) -> None:
    folder = workspace.models / "diffuser"
    write_safetensors(folder / UNET, header, data)
    publish(folder, "diffuser")
    (report,) = verify(workspace, "diffuser")
    (failure,) = report.failures
    assert (failure.name, failure.file) == ("safetensors headers", UNET)
    assert told in failure.measured
    assert report.damaged == ()


def test_a_table_with_other_columns_fails(workspace: Workspace) -> None:
    folder = workspace.data / "i2p-dataset/sample"
    (folder / "prompts/i2p.csv").write_text("prompt,seed\na dog,3\n")
    publish(folder, "i2p")
    (failure,) = failures(verify(workspace, "i2p"))
    assert failure.name == "I2P table"
    assert "row 0 has no guidance" in failure.measured


def test_only_a_deep_check_decodes_pictures(workspace: Workspace) -> None:
    folder = workspace.data / "i2p-dataset/sample"
    picture = folder / "images/self-harm/1.jpg"
    picture.write_bytes(picture.read_bytes()[:-200])
    publish(folder, "i2p")
    assert failures(verify(workspace, "i2p")) == []
    (failure,) = failures(verify(workspace, "i2p", deep=True))
    assert (failure.name, failure.file) == ("pictures", "images/self-harm/1.jpg")


def test_a_name_that_is_not_there_fails(workspace: Workspace) -> None:
    (failure,) = failures(verify(workspace, "compvis"))
    assert (failure.name, failure.measured) == ("present", "missing")


def test_an_interrupted_download_is_not_passed_over(workspace: Workspace) -> None:
    (workspace.models / ".compvis.partial").mkdir()
    reports = verify(workspace)
    assert [report.name for report in reports if not report.passed] == ["compvis"]


def test_a_path_into_a_workspace_means_its_artifact(workspace: Workspace) -> None:
    elsewhere = Workspace(workspace.root / "elsewhere")
    folder = workspace.models / "diffuser"
    for path in (folder, folder / "style50", folder / UNET):
        (report,) = verify(elsewhere, str(path))
        assert (report.name, report.passed) == ("diffuser", True)


def test_a_folder_of_ones_own_is_checked_for_soundness(workspace: Workspace) -> None:
    mine = workspace.root / "mine"
    mine.mkdir()
    write_safetensors(mine / "x.safetensors", f'{{"a":{tensor_entry(0, 4)}}}', b"1234")
    assert failures(verify(workspace, str(mine))) == []
    assert failures(verify(workspace, str(mine / "x.safetensors"))) == []
    (mine / "x.safetensors").write_bytes(b"PK\3\4")
    assert len(failures(verify(workspace, str(mine)))) == 1
    assert len(failures(verify(workspace, str(mine / "x.safetensors")))) == 1


def test_models_of_the_hub_belong_to_the_workspace(workspace: Workspace) -> None:
    folder = workspace.models / "hub/runwayml--sd"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    publish(folder, "hub:runwayml/sd", "runwayml/sd (model), only config.json *.txt")
    assert [report.name for report in verify(workspace)][-1] == "hub:runwayml/sd"
    assert failures(verify(workspace)) == []
    assert failures(verify(workspace, "hub:runwayml/sd")) == []
    flip(folder / "config.json", 0)
    assert [check.file for check in failures(verify(workspace, str(folder)))] == ["config.json"]


def test_a_model_of_the_hub_must_be_a_pipeline_unless_parts_were_asked_for(
    workspace: Workspace,
) -> None:
    folder = workspace.models / "hub/runwayml--sd"
    folder.mkdir(parents=True)
    publish(folder, "hub:runwayml/sd")
    assert [check.name for check in failures(verify(workspace, "hub:runwayml/sd"))] == [
        "named files"
    ]


def test_an_empty_workspace_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no download and no finished run"):
        verify(Workspace(tmp_path))


def test_neither_name_nor_path_is_an_error(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="'difuser', and there is no such path") as caught:
        verify(workspace, "difuser")
    assert "diffuser" in caught.value.hint


def test_what_cannot_be_checked_is_an_error(workspace: Workspace) -> None:
    (workspace.root / "empty").mkdir()
    with pytest.raises(InputError, match="nothing that can be checked"):
        verify(workspace, str(workspace.root / "empty"))
    (workspace.root / "x.png").touch()
    with pytest.raises(InputError, match="no file of weights"):
        verify(workspace, str(workspace.root / "x.png"))
