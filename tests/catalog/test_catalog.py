"""A name finds its artifact; what the catalogue does not know or may not hold is told clearly."""

from pathlib import Path

import pytest

from esdctl.catalog.artifacts import (
    FileSource,
    TreeSource,
    ZipSource,
    hub_artifact,
    load_catalog,
)
from esdctl.errors import InputError, UsageError
from esdctl.evaluation.encoders import inception, lpips

HUB = "https://huggingface.co/"
MINE = """
artifacts:
  - name: mine
    kind: model
    zip: {url: "https://example.org/mine.zip", strip: top}
    folder: models/mine
    must_contain: [weights.safetensors]
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "catalog.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "variant", "url", "folder"),
    [
        ("compvis", "", "nebulaanish/unlearn_models/resolve/main/compvis.zip", "models/compvis"),
        ("diffuser", "", "nebulaanish/unlearn_models/resolve/main/diffuser.zip", "models/diffuser"),
        ("unlearn-canvas", "sample", "datasets/dipeshlav/sample-quick-unlearn-canvas/resolve/main/"
         "sample-quick-unlearn-canvas.zip", "data/quick-canvas-dataset/sample"),
        ("i2p", "sample", "datasets/dipeshlav/sample_i2p_dataset/resolve/main/sample.zip",
         "data/i2p-dataset/sample"),
    ],
)  # fmt: skip
def test_zips_come_from_their_addresses(name: str, variant: str, url: str, folder: str) -> None:
    artifact = load_catalog(None).find(name, variant)
    assert artifact.source == ZipSource(HUB + url, "sample" if variant else "")
    assert artifact.folder == folder


@pytest.mark.parametrize(
    ("name", "repo", "folder"),
    [
        ("unlearn-canvas", "nebulaanish/quick-canvas-benchmark", "data/quick-canvas-dataset/full"),
        ("i2p", "nebulaanish/i2p-dataset", "data/i2p-dataset/full"),
    ],
)
def test_full_data_sets_are_trees(name: str, repo: str, folder: str) -> None:
    artifact = load_catalog(None).find(name, "full")
    assert artifact.source == TreeSource(repo, "dataset")
    assert artifact.folder == folder


@pytest.mark.parametrize(
    ("name", "path", "digest_begins"),
    [
        ("inception", inception.FILE, "6726825d"),
        ("alexnet", lpips.FILE, "7be5be79"),
    ],
)
def test_weights_for_fidelity_are_files_whose_names_begin_their_digests(
    name: str, path: Path, digest_begins: str
) -> None:
    artifact = load_catalog(None).find(name)
    assert isinstance(artifact.source, FileSource)
    assert artifact.source.sha256.startswith(digest_begins)
    assert f"-{digest_begins}." in artifact.source.name
    assert Path(artifact.folder, artifact.source.name) == Path("models") / path


def test_inception_is_read_only_if_it_is_the_catalogues() -> None:
    source = load_catalog(None).find("inception").source
    assert isinstance(source, FileSource)
    assert source.sha256 == inception.SHA256


@pytest.mark.parametrize("alias", ["quick-canvas", "unlearncanvas", "unlearn_canvas"])
def test_other_names_mean_the_same(alias: str) -> None:
    catalog = load_catalog(None)
    assert catalog.find(alias, "full") == catalog.find("unlearn-canvas", "full")
    assert catalog.find("diffusers") == catalog.find("diffuser")


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match="'comvis'") as caught:
        load_catalog(None).find("comvis")
    assert caught.value.hint == "did you mean compvis?"


def test_a_name_like_no_other_gets_all_names() -> None:
    with pytest.raises(UsageError) as caught:
        load_catalog(None).find("xyzzy")
    assert caught.value.hint.startswith("known: compvis, diffuser, unlearn-canvas, i2p")


def test_a_data_set_without_its_variant_names_both() -> None:
    with pytest.raises(UsageError, match="sample and full") as caught:
        load_catalog(None).find("i2p")
    assert "dataset fetch i2p --sample or --full" in caught.value.hint


def test_a_model_has_no_sample() -> None:
    with pytest.raises(UsageError, match="compvis has no variant sample"):
        load_catalog(None).find("compvis", "sample")


def test_a_hub_id_becomes_a_tree_in_its_own_folder() -> None:
    artifact = load_catalog(None).find("hub:runwayml/stable-diffusion-v1.5")
    assert isinstance(artifact.source, TreeSource)
    assert artifact.source.repo == "runwayml/stable-diffusion-v1.5"
    assert artifact.folder == "models/hub/runwayml--stable-diffusion-v1.5"
    assert artifact.must_contain == ("model_index.json",)


def test_chosen_globs_take_the_place_of_the_pipeline() -> None:
    artifact = hub_artifact("hub:a/b", ["*.bin"])
    assert isinstance(artifact.source, TreeSource)
    assert (artifact.source.include, artifact.must_contain) == (("*.bin",), ())


@pytest.mark.parametrize(
    "name", ["hub:", "hub:a", "hub:a/b/c", "hub:../b", "hub:a/..", "hub:a/b--c", "hub:a/b\n",
             "hub:/b", "hub:a/.b", "hub:a b/c", "hub:ä/b"],
)  # fmt: skip
def test_what_is_no_hub_id_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no model of the hub"):
        load_catalog(None).find(name)


def test_a_users_entries_come_after_ours(tmp_path: Path) -> None:
    catalog = load_catalog(write(tmp_path, MINE))
    assert catalog.find("mine").source == ZipSource("https://example.org/mine.zip", "top")
    assert catalog.find("compvis")
    assert catalog.artifacts[-1].name == "mine"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("name: mine", "name: compvis", "compvis is in the catalogue already"),
        ("name: mine", "name: quick-canvas", "quick-canvas is in the catalogue already"),
        ("name: mine", 'name: "hub:a/b"', "not beginning with - or hub:"),
        ("models/mine", "models/compvis", "overlaps that of compvis"),
        ("models/mine", "models/compvis/more", "overlaps that of compvis"),
        ("models/mine", "../mine", "mine, folder: must be a plain relative path"),
        ("models/mine", "/mine", "mine, folder: must be a plain relative path"),
        ("models/mine", "outputs/x", "mine, folder: must lie in models/ or data/"),
        ("models/mine", "models", "must be a folder of its own"),
        ("weights.safetensors", "../x", "mine, must_contain.0: must be a plain relative path"),
        ("https://example.org", "file:///etc", "mine, zip.url: must be an address"),
        ("kind: model", "kind: judge", "mine, kind: input should be 'model' or 'dataset'"),
        ("kind: model", "kind: model\n    size: 3", "mine, size: extra inputs are not permitted"),
        ("strip: top}", "strip: top}\n    tree: {repo: a, repo_type: model}", "mine: must have"),
        ("strip: top}", "strip: top}\n    file: {url: 'https://a.b/c'}", "zip, file or tree"),
        ("zip: {url: \"https://example.org/mine.zip\", strip: top}",
         "file: {url: 'https://a.b/c', sha256: 12ab}", "mine, file.sha256: string should match"),
        ("zip: {url: \"https://example.org/mine.zip\", strip: top}",
         "file: {url: 'https://a.b/'}", "mine, file.url: must end with a file's name"),
        ("- name: mine", "- 3\n  - name: mine", "entry 1: input should be"),
        ("artifacts:", "things:", "artifacts: field required"),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_named_with_its_key(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in MINE
    path = write(tmp_path, MINE.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_catalog(path)
    assert str(path) in caught.value.message
    assert told in caught.value.message


def test_a_missing_catalogue_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"catalogue .* does not exist"):
        load_catalog(tmp_path / "none.yaml")
