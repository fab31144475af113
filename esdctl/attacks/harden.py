"""``train --harden N``: rounds of textual inversion, each with an edit against what it found.

Each round learns a token that brings the concept back, on the model as it is by then, and edits
keys and values in closed form so that this token says what the concept's own prompts were made to
say. As RECE (Gong et al. 2024, arXiv 2407.12383) does with embeddings that it derives in closed
form.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from esdctl.attacks.asked import AttackRequest
from esdctl.attacks.attack import QUICK
from esdctl.attacks.budget import Budget
from esdctl.attacks.methods.inversion import ATTACK, learned_tokens
from esdctl.attacks.plan import plan_attacks
from esdctl.attacks.slots import encode_slots, with_slots_for
from esdctl.attacks.target import Target
from esdctl.erasing.editing.closed_form import edit_keys_and_values, rule_of
from esdctl.erasing.erase import Hardener
from esdctl.erasing.esd.prepare import Prepared
from esdctl.erasing.plan import ErasePlan
from esdctl.erasing.run_folder import RunFolder
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.progress import Reporter
from esdctl.storage.atomic import append_jsonl, read_jsonl

FOLDER = "harden"  # in the run's folder: the learned tokens, and pictures of the concept


def hardener_of(plan: ErasePlan, models: Path, reporter: Reporter) -> Hardener | None:
    """What attacks and edits a trained model; None where the settings ask for no round.

    Args:
        plan: of the erasure.
        models: the workspace's folder of models, where classifiers lie.
        reporter: told of each round.

    Raises:
        UsageError: no classifier knows the concept.
        InputError, IntegrityError: there is no classifier, or it is damaged.
    """
    rounds = plan.config.harden
    if not rounds:
        return None
    budget, folder = Budget(QUICK), plan.output / FOLDER
    attacked = plan_attacks(
        plan.pipeline, ATTACK.name, budget, folder, models, AttackRequest(concept=plan.concept.name)
    )

    def harden(model: StableDiffusion, ready: Prepared) -> None:
        log = RunFolder(plan.output).log
        known = {row.get("harden") for row in read_jsonl(log)} if log.is_file() else set()
        for number in range(1, rounds + 1):
            began = time.perf_counter()
            target = Target(
                model=model,
                base=_loaded(plan, model.device),
                concept=attacked.concept,
                cases=(),
                beside=attacked.beside,
                guidance=attacked.guidance,
                steps=attacked.steps,
                side=attacked.side,
                judge=attacked.judge,
                folder=folder / f"round-{number}",
                shared=folder,
                reporter=reporter,
            )
            _edit_against(target, ready, learned_tokens(target, budget.settings(ATTACK)), plan)
            seconds = round(time.perf_counter() - began, 2)
            reporter.notice(f"harden: round {number} of {rounds} in {seconds:.0f} s")
            if number not in known:
                append_jsonl(log, {"harden": number, "seconds": seconds})
        model.drop("text_encoders", "vae")

    return harden


@torch.no_grad()
def _edit_against(
    target: Target, ready: Prepared, vectors: list[torch.Tensor], plan: ErasePlan
) -> None:
    """Make the learned token say, in the concept's prompts, what the concept was made to say.

    Not in prompts that name something else as well: its tokens would be edited away, too.
    """
    slots, texts = vectors[0].shape[0], plan.concept.prompts
    prompts = [with_slots_for(target.model, text, target.word, slots) for text in texts]
    rows = [vector.expand(len(prompts), -1, -1) for vector in vectors]
    learned = encode_slots(target.model, prompts, rows).to(torch.device("cpu"))
    embeddings = replace(ready.embeddings, prompts=learned)
    edit_keys_and_values(ready.student, embeddings, replace(rule_of(plan.config), rounds=0))


def _loaded(plan: ErasePlan, device: torch.device) -> Callable[[], StableDiffusion]:
    return lambda: load(plan.pipeline, device)
