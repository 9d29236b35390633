"""The stateless sampler: which slices and which random numbers step `t` uses, from (seed, t) alone."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray


def generator(seed: int, stream: str, *key: int) -> np.random.Generator:
    """Random generator that depends on nothing but its arguments.

    Args:
        seed: the run's seed.
        stream: what the numbers are for; different names give independent numbers.
        key: e.g. step and index of the sample in the global batch.
    """
    words = [seed, zlib.crc32(stream.encode()), *key]
    return np.random.default_rng(np.random.SeedSequence(words))


def batch_indices(
    seed: int, stream: str, step: int, population: int, batch_size: int
) -> NDArray[np.int64]:
    """Indices of the global batch of one step.

    Passes over the population in a new random order each time, so every slice is seen equally
    often, without keeping a position: step `t` takes places `t*batch_size ...` of the concatenated
    permutations.

    Args:
        seed: the run's seed.
        stream: "source" or "target".
        step: training step, from 0.
        population: number of slices.
        batch_size: size of the batch over all ranks.

    Returns:
        `(batch_size,)` indices below `population`.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)  # in the row of all passes
    order = {
        int(epoch): generator(seed, stream, int(epoch)).permutation(population)
        for epoch in np.unique(places // population)
    }
    return np.array([order[int(p // population)][p % population] for p in places], dtype=np.int64)
