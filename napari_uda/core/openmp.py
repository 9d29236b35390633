"""How long OpenMP's idle threads spin before they sleep, which must be set before torch is loaded."""

from __future__ import annotations

from collections.abc import MutableMapping

_SPINS = 1000
_SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def let_idle_threads_sleep(environment: MutableMapping[str, str]) -> None:
    """Have idle threads sleep soon, unless the user has set how they wait.

    Where napari or another training wants the same cores, spinning takes most of what is left; sleeping
    at once makes a training that has the cores for itself a third slower. This number is nearly as
    polite and loses a tenth. To measure it, train `source_only` on the sample data with `cpu_small` for
    a hundred steps, alone and twice at once, and compare `seconds` in `metrics.jsonl`.

    Args:
        environment: of a process that has not loaded torch, or will; changed in place.
    """
    if not any(name in environment for name in _SETTINGS):
        environment["GOMP_SPINCOUNT"] = str(_SPINS)
