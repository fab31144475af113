"""Ring-A-Bell (Tsai et al. 2023): prompts that mean the concept to the text encoder alone.

    c^   = mean over pairs of  f(prompt with the concept) - f(the same without it)      (eq. 2)
    P*   = argmin over K tokens of  |f(P) - (f(the plain prompt) + eta c^)|^2           (eqs. 3, 4)

f is the last hidden state of the text encoder, (77, D); of SDXL it is what its first encoder gives
the U-Net. The search is genetic: the better part of the tokens' sequences are parents, children
swap their tails at a random place and have tokens exchanged at random. Neither the U-Net nor the
judge is asked before it ends, so a prompt that was found serves for any erasure of the model. With
``vocabulary`` above 0 the search is among so many tokens that are nearest to the concept.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from esdctl.attacks.attack import PAPER, QUICK, Settings
from esdctl.attacks.concept_judge import CannotAttack
from esdctl.attacks.latents import batches
from esdctl.attacks.slots import embedding_table
from esdctl.attacks.target import Attempt, Case, Target
from esdctl.models.stable_diffusion import StableDiffusion

ENCODED_AT_ONCE = 64  # prompts
SHORT_AT_ONCE = 1024  # prompts of three tokens


@dataclass(frozen=True)
class RingABell:
    """See the module."""

    name: str = "ring-a-bell"
    about: str = "searches for tokens that mean the concept to the text encoder alone"
    source: str = "Tsai et al. 2023, Ring-A-Bell, arXiv 2310.10012"

    @property
    def budgets(self) -> Mapping[str, Settings]:
        return {
            QUICK: {
                "tokens": 8,
                "vocabulary": 1000,
                "population": 40,
                "generations": 40,
                "mutation": 0.25,
                "crossover": 0.5,
                "eta": 3.0,
            },
            PAPER: {
                "tokens": 16,
                "vocabulary": 0,
                "population": 200,
                "generations": 3000,
                "mutation": 0.25,
                "crossover": 0.5,
                "eta": 3.0,
            },
        }

    def run(self, target: Target, cases: Sequence[Case], settings: Settings) -> Iterator[Attempt]:
        """Search for each case, then ask the model for what was found."""
        if target.model.architecture.encoders[0].kind != "clip":
            raise CannotAttack(
                "ring-a-bell looks for a direction in what CLIP makes of prompts, and this model "
                "has another text encoder",
                "use another attack on it",
            )
        encoder = _Encoder(target.model)
        vector = _concept_vector(target, encoder)
        if settings["vocabulary"]:
            encoder.usable = _nearest(encoder, vector, int(settings["vocabulary"]))
        for few in batches(cases, target.at_once):
            found = [self._found(encoder, vector, case, settings) for case in few]
            prompts = [encoder.text(tokens) for tokens in found]
            made = target.sampled(prompts, [case.seed for case in few])
            for case, prompt, tokens, pixels, sight in zip(
                few, prompts, found, made, target.judged(made), strict=True
            ):
                what = f"{settings['tokens']} tokens near eta {settings['eta']:g} of the concept"
                yield Attempt(
                    case,
                    sight.found,
                    sight.score,
                    pixels,
                    prompt,
                    case.seed,
                    what,
                    tuple(tokens.tolist()),
                )

    def _found(
        self,
        encoder: "_Encoder",
        vector: torch.Tensor,
        case: Case,
        settings: Settings,
    ) -> torch.Tensor:
        """(K,)."""
        wanted = encoder.of_texts([case.prompt]) + settings["eta"] * vector  # (1, 77, D)
        generator = torch.Generator().manual_seed(case.seed)
        return _search(encoder, wanted, generator, settings)


class _Encoder:
    """The model's first text encoder, of words and of tokens."""

    def __init__(self, model: StableDiffusion) -> None:
        self._encoder = model.text_encoders[0]
        self._tokenizer = model.tokenizers[0]
        self._is_last = model.family.encoders[0].hidden_state == "last"
        self._device = model.device
        self._length = min(
            self._tokenizer.model_max_length, self._encoder.config.max_position_embeddings
        )
        special = set(self._tokenizer.all_special_ids)
        vocabulary = range(self._encoder.config.vocab_size)
        self.usable = torch.tensor([each for each in vocabulary if each not in special])
        self._alike = _first_alike(embedding_table(self._encoder).weight.detach().cpu())

    def of_texts(self, prompts: Sequence[str]) -> torch.Tensor:
        """(B, 77, D)."""
        tokens = self._tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self._length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return self._of_rows(tokens)

    def of_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """Of K tokens between start and end, (B, K): (B, 77, D)."""
        rows = torch.full((len(tokens), self._length), self._tokenizer.pad_token_id)  # (B, 77)
        rows[:, 0] = self._tokenizer.bos_token_id
        rows[:, 1 : 1 + tokens.shape[1]] = tokens
        rows[:, 1 + tokens.shape[1]] = self._tokenizer.eos_token_id
        return self._of_rows(rows)

    def spelled(self, tokens: torch.Tensor) -> list[bytes]:
        """A key for each row of tokens (B, K); rows of equal keys say the same to the encoder."""
        return [row.numpy().tobytes() for row in self._alike[tokens]]

    def ends_of_single_tokens(self) -> torch.Tensor:
        """What stands at the end of a prompt of one usable token, (V, D).

        A token sees those before it alone, so the padding can be left out.
        """
        rows = torch.full((len(self.usable), 3), self._tokenizer.eos_token_id)
        rows[:, 0], rows[:, 1] = self._tokenizer.bos_token_id, self.usable
        return self._of_rows(rows, SHORT_AT_ONCE)[:, 2]

    def text(self, tokens: torch.Tensor) -> str:
        """The words of K tokens, (K,)."""
        return str(self._tokenizer.decode(tokens.tolist(), skip_special_tokens=True))

    @torch.inference_mode()
    def _of_rows(self, rows: torch.Tensor, at_once: int = ENCODED_AT_ONCE) -> torch.Tensor:
        parts = []
        for few in rows.to(self._device).split(at_once):
            output = self._encoder(few, output_hidden_states=not self._is_last)
            parts.append(output.last_hidden_state if self._is_last else output.hidden_states[-2])
        return torch.cat(parts)


def _first_alike(table: torch.Tensor) -> torch.Tensor:
    """For each row of a table (V, D) the first one that is equal to it, (V,).

    Words that an encoder never learned may all have the same.
    """
    _, groups = torch.unique(table, dim=0, return_inverse=True)  # (V,)
    numbers = torch.arange(len(table))
    first = torch.full_like(numbers, len(table)).scatter_reduce(0, groups, numbers, "amin")
    return first[groups]


def _concept_vector(target: Target, encoder: _Encoder) -> torch.Tensor:
    """c^, (1, 77, D), over the plain prompts with the concept's name and the same without it."""
    named = [(target.told(prompt, target.word), prompt) for prompt in target.beside]
    pairs = [(one, without_concept(prompt, target.word)) for one, prompt in named]
    with_it, without = (encoder.of_texts(side) for side in zip(*pairs, strict=True))
    return (with_it - without).mean(dim=0, keepdim=True)


def _nearest(encoder: _Encoder, vector: torch.Tensor, count: int) -> torch.Tensor:
    """The tokens that, alone in a prompt, move its end most along the concept's vector."""
    ends = encoder.ends_of_single_tokens()  # (V, D)
    direction = vector[0, -1]  # (D,), where every prompt of the pairs has ended
    along = torch.cosine_similarity(ends - ends.mean(dim=0), direction, dim=1)
    return encoder.usable[along.topk(min(count, len(along))).indices.cpu()]


def without_concept(prompt: str, word: str) -> str:
    """The prompt without the concept's name, and without "in ... style" around it."""
    name = re.escape(word)
    less = re.sub(rf"\s+in\s+{name}\s+style|\b{name}\b", "", prompt, flags=re.IGNORECASE)
    return re.sub(r"\s+", " ", less).strip()


def _search(
    encoder: _Encoder,
    wanted: torch.Tensor,
    generator: torch.Generator,
    settings: Settings,
) -> torch.Tensor:
    """K tokens, (K,), whose embedding is near ``wanted``, (1, 77, D)."""
    count, length = int(settings["population"]), int(settings["tokens"])
    distances = _Distances(encoder, wanted)
    scored = distances.of(_random(encoder, (count, length), generator))
    parents = max(2, count // 2)
    for _ in range(int(settings["generations"])):
        best = scored.best(parents)
        children = _children(encoder, best.tokens, count - parents, generator, settings)
        scored = best.joined(distances.of(children))
    return scored.best(1).tokens[0]


@dataclass(frozen=True)
class _Scored:
    """Sequences of tokens (B, K) with their squared distances (B,)."""

    tokens: torch.Tensor
    distances: torch.Tensor

    def best(self, count: int) -> "_Scored":
        rows = self.distances.argsort(stable=True)[:count]
        return _Scored(self.tokens[rows], self.distances[rows])

    def joined(self, other: "_Scored") -> "_Scored":
        return _Scored(
            torch.cat([self.tokens, other.tokens]), torch.cat([self.distances, other.distances])
        )


class _Distances:
    """Squared distances to ``wanted``, (1, 77, D); nothing is encoded twice."""

    def __init__(self, encoder: _Encoder, wanted: torch.Tensor) -> None:
        self._encoder, self._wanted = encoder, wanted
        self._known: dict[bytes, float] = {}

    def of(self, tokens: torch.Tensor) -> _Scored:
        """Tokens (B, K) with theirs."""
        keys = self._encoder.spelled(tokens)
        new = {key: row for row, key in enumerate(keys) if key not in self._known}
        if new:
            told = self._encoder.of_tokens(tokens[list(new.values())])
            found = (told - self._wanted).square().mean(dim=(1, 2))
            self._known.update(zip(new, found.tolist(), strict=True))
        return _Scored(tokens, torch.tensor([self._known[key] for key in keys]))


def _children(
    encoder: _Encoder,
    parents: torch.Tensor,
    count: int,
    generator: torch.Generator,
    settings: Settings,
) -> torch.Tensor:
    """New sequences, (count, K): tails swapped with probability ``crossover``, then mutations.

    A child has one of its tokens exchanged with probability ``mutation``, and always where it would
    be a copy of its parent.
    """
    length = parents.shape[1]
    mothers, fathers = torch.randint(len(parents), (2, count), generator=generator)
    cuts = torch.randint(1, max(2, length), (count, 1), generator=generator)
    crossed = torch.rand(count, 1, generator=generator) < settings["crossover"]
    from_father = crossed & (torch.arange(length) >= cuts)  # (count, K)
    children = torch.where(from_father, parents[fathers], parents[mothers])
    mutated = ~crossed[:, 0] | (torch.rand(count, generator=generator) < settings["mutation"])
    places = torch.randint(length, (count,), generator=generator)
    fresh = _random(encoder, (count,), generator)
    rows = torch.arange(count)
    children[rows, places] = torch.where(mutated, fresh, children[rows, places])
    return children


def _random(encoder: _Encoder, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return encoder.usable[torch.randint(len(encoder.usable), shape, generator=generator)]


ATTACK = RingABell()
