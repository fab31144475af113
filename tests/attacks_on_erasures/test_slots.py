"""Vectors in a prompt's places, in every family: a word's own vectors tell what the word tells."""

from pathlib import Path

import pytest
import torch

from esdctl.attacks.slots import encode_slots, tokens_of, vocabulary_of, with_slots_for
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.models.text import encode_prompts
from tests.checkpoints.tiny_flux2_models import tiny_flux2
from tests.checkpoints.tiny_models import Family
from tests.erasing.families import pipeline, write_families

PROMPT = "A Dogs image in Mosaic style."


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[Family, str], Path]:
    return write_families(tmp_path_factory.mktemp("families"))


def test_a_words_own_vectors_tell_what_the_word_tells(
    models: dict[tuple[Family, str], Path], tmp_path: Path
) -> None:
    for path in (*models.values(), tiny_flux2(tmp_path / "flux2")):
        model: StableDiffusion = load(pipeline(path), torch.device("cpu"))
        own = torch.tensor([tokens_of(model, " Mosaic")])  # (1, K)
        prompt = with_slots_for(model, PROMPT, "Mosaic", own.shape[1])
        vectors = [each.clone().requires_grad_() for each in vocabulary_of(model).vectors(own)]
        told, plain = encode_slots(model, [prompt], vectors), encode_prompts(model, [PROMPT])
        torch.testing.assert_close(told.embeddings, plain.embeddings)
        assert (told.pooled is None) == (plain.pooled is None)
        if told.pooled is not None and plain.pooled is not None:
            torch.testing.assert_close(told.pooled, plain.pooled)
        gradients = torch.autograd.grad(told.embeddings.square().sum(), vectors)
        assert all(bool(each.abs().sum() > 0) for each in gradients)
        assert vocabulary_of(model).nearest(vectors).tolist() == own.tolist()
