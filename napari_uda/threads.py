"""How long OpenMP's idle threads spin before they sleep; to be settled before torch is loaded."""

from __future__ import annotations

from collections.abc import MutableMapping

_SPINS = 1000
_SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def let_idle_threads_sleep(environment: MutableMapping[str, str]) -> None:
    """Have idle threads sleep soon, unless the user has set how they wait.

    Where napari or another training wants the same cores, spinning takes most of what is left: on two
    cores, sixty steps of two trainings each took 18 s with this number of spins and 27 s with ten times
    as many. Sleeping at once took 17 s, but makes a training that has the cores for itself a third slower.

    Args:
        environment: of a process that has not loaded torch, or will; changed in place.
    """
    if not any(name in environment for name in _SETTINGS):
        environment["GOMP_SPINCOUNT"] = str(_SPINS)
