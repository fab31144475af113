"""What an edit keeps of the corpus: computed once, and the same from the cache."""

from pathlib import Path

import pytest
import torch

from esdctl.datasets.corpus.prompts import corpus
from esdctl.erasing.editing.kept_corpus import LENGTH, keep_corpus
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.models.text import encode_prompts, encode_starts
from esdctl.progress import Silent


class Told(Silent):
    """Counts how often a task was started."""

    started_tasks = 0

    def started(self, task: str, total: int, unit: str, done: int = 0) -> None:
        self.started_tasks += 1


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> StableDiffusion:
    return load(Pipeline("tiny", tiny_model), torch.device("cpu"))


def test_the_tokens_of_a_start_are_those_of_the_whole_prompt(model: StableDiffusion) -> None:
    prompts = ["dogs", "a painting of a bow and arrow by Akseli Gallen-Kallela", ""]
    starts, _ = encode_starts(model, prompts, LENGTH)
    whole = encode_prompts(model, prompts).embeddings[:, :LENGTH]
    torch.testing.assert_close(starts, whole)


def test_a_corpus_is_read_once_and_what_is_kept_are_the_prompts_without_the_concept(
    model: StableDiffusion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESDCTL_CACHE_DIR", str(tmp_path))
    reporter = Told()
    first, again = (keep_corpus(model, ["dogs", "cats"], reporter) for _ in range(2))
    assert reporter.started_tasks == 1
    assert torch.equal(first.moment, again.moment)
    assert first.document() == again.document()
    gone = set(first.left_out)
    kept = [entry.text for entry in corpus() if gone.isdisjoint(entry.words)]
    assert first.prompts == len(kept) < len(corpus())
    rows = encode_starts(model, kept, LENGTH)[0].flatten(0, 1).double()
    torch.testing.assert_close(first.moment, rows.T @ rows / len(rows))


def test_a_damaged_cache_is_computed_again(
    model: StableDiffusion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESDCTL_CACHE_DIR", str(tmp_path))
    first = keep_corpus(model, ["dogs"], Silent())
    (file,) = (tmp_path / "corpus").iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    assert torch.equal(keep_corpus(model, ["dogs"], Silent()).moment, first.moment)
