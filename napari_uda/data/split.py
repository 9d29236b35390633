"""Train / validation split by patient: no patient on both sides, the same split for the same seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_uda.core.config import Config
from napari_uda.core.errors import InputError
from napari_uda.core.patterns import search_all
from napari_uda.core.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Sequence


class Split(Config):
    """Case names on each side; stored in the run."""

    train: tuple[str, ...]
    """Cases that the method learns from."""
    validation: tuple[str, ...] = ()
    """Labelled cases kept out of training, to be scored while it runs."""


def patients_of(cases: Sequence[str], pattern: str) -> list[str]:
    """Patient that each case belongs to: the first group of `pattern`, or the case itself without one.

    Raises:
        InputError: if the pattern does not match a case, or takes too long.
    """
    if not pattern:
        return list(cases)
    patients = []
    for case, found in zip(cases, search_all(pattern, cases), strict=True):
        patient = None if found is None else found[1] if len(found) > 1 else found[0]
        if patient is None:
            raise InputError(
                f"patient pattern {pattern!r} does not match case {case!r}; correct the pattern"
            )
        patients.append(patient)
    return patients


def split_cases(
    cases: Sequence[str], *, validation_fraction: float, seed: int, patient_pattern: str = ""
) -> Split:
    """Split cases by patient.

    Args:
        cases: case names.
        validation_fraction: share of patients kept out of training, 0 to below 1; 0 keeps none.
        seed: the run's seed.
        patient_pattern: regular expression that finds the patient in a case name; empty means that
            every case is a patient of its own.

    Raises:
        InputError: if the fraction leaves no patient to train on.
    """
    patient_of = dict(zip(cases, patients_of(cases, patient_pattern), strict=True))
    patients = sorted(set(patient_of.values()))
    count = round(validation_fraction * len(patients))
    if validation_fraction > 0:
        count = max(count, 1)
    if count >= len(patients):
        raise InputError(
            f"validation_fraction {validation_fraction} leaves none of {len(patients)} patients "
            "for training; lower it or add cases"
        )
    order = generator(seed, "split").permutation(len(patients))
    held_out = {patients[i] for i in order[:count]}
    return Split(
        train=tuple(c for c in cases if patient_of[c] not in held_out),
        validation=tuple(c for c in cases if patient_of[c] in held_out),
    )
