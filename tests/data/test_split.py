"""Splits by patient."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_uda.core.errors import InputError
from napari_uda.data.split import Split, patients_of, split_cases

PATTERN = r"(p\d+)_"
names = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 3)), unique=True, min_size=1, max_size=30
).map(lambda pairs: [f"p{patient}_scan{scan}" for patient, scan in pairs])


@pytest.mark.slow  # each pattern is searched in a process of its own
@settings(max_examples=100, deadline=None)
@given(cases=names, fraction=st.floats(0, 0.9), seed=st.integers(0, 1000))
def test_no_patient_is_on_both_sides(cases: list[str], fraction: float, seed: int) -> None:
    patients = {case.partition("_")[0] for case in cases}
    held_out = max(round(fraction * len(patients)), 1) if fraction else 0
    if held_out >= len(patients):
        with pytest.raises(InputError, match="leaves none"):
            split_cases(cases, validation_fraction=fraction, seed=seed, patient_pattern=PATTERN)
        return
    split = split_cases(cases, validation_fraction=fraction, seed=seed, patient_pattern=PATTERN)
    sides = [{c.partition("_")[0] for c in side} for side in (split.train, split.validation)]
    assert not sides[0] & sides[1]
    assert sorted([*split.train, *split.validation]) == sorted(cases)
    assert len(sides[1]) == held_out
    # the same cases in another order of the same list give the same sides
    again = split_cases(
        cases[::-1], validation_fraction=fraction, seed=seed, patient_pattern=PATTERN
    )
    assert set(again.train) == set(split.train)


def test_without_a_pattern_every_case_is_a_patient() -> None:
    cases = [f"case_{i}" for i in range(10)]
    split = split_cases(cases, validation_fraction=0.3, seed=0)
    assert (len(split.train), len(split.validation)) == (7, 3)
    assert split_cases(cases, validation_fraction=0, seed=0) == Split(train=tuple(cases))


def test_another_seed_holds_out_others() -> None:
    cases = [f"case_{i}" for i in range(20)]
    sides = {split_cases(cases, validation_fraction=0.5, seed=s).validation for s in range(5)}
    assert len(sides) == 5


@pytest.mark.parametrize(
    ("case", "pattern", "patient"),
    [("p12_a", r"p(\d+)", "12"), ("p12_a", r"p\d+", "p12"), ("p12_a", "", "p12_a")],
)
def test_patient_of_a_case(case: str, pattern: str, patient: str) -> None:
    assert patients_of([case], pattern) == [patient]
    assert patients_of([case] * 3, pattern) == [patient] * 3


def test_a_pattern_that_misses_a_case_is_refused() -> None:
    with pytest.raises(InputError, match=r"'q\(\\\\d\+\)' does not match case 'p1_a'"):
        split_cases(["p1_a"], validation_fraction=0, seed=0, patient_pattern=r"q(\d+)")
    with pytest.raises(
        InputError, match="does not match case 'p1_a'"
    ):  # its group has no part in it
        patients_of(["p1_a"], r"p1|q(\d+)")
