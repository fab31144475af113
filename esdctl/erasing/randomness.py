"""Randomness as a function of (seed, position), never of what was drawn before."""

import torch

_MASK = 2**64 - 1


def generator_at(seed: int, *position: int) -> torch.Generator:
    """A generator on the CPU for one place of a run.

    Args:
        seed: of the run.
        position: one number or several, such as a step, or a stream and a trajectory.
    """
    for number in position:
        seed = _mixed(seed, number)
    return torch.Generator().manual_seed(seed)


def below(number: int, generator: torch.Generator) -> int:
    """A uniform integer in 0..number-1; 0 where there is nothing to choose from."""
    return int(torch.randint(max(number, 1), (1,), generator=generator))


def _mixed(seed: int, number: int) -> int:
    """One 63-bit seed for a pair: the finaliser of SplitMix64 (Steele et al. 2014)."""
    z = (seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03 + 0x2545F4914F6CDD1D) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return (z ^ (z >> 31)) >> 1
