"""Does a model fit an image: fitting images pass, and every kind of misfit is named with its quantity."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import napari_uda
from napari_uda.data.domain_statistics import domain_statistics, measure_volume
from napari_uda.data.facts import DataFacts
from napari_uda.data.intensity import Intensity
from napari_uda.data.sizes import StructureSize
from napari_uda.data.slices import SliceGrid
from napari_uda.data.split import Split
from napari_uda.data.structure_statistics import StructureStatistics
from napari_uda.data.volume import Volume, read_volume
from napari_uda.inference.fit import Fit, judge
from napari_uda.inference.fit_finding import plain, span_text
from napari_uda.inference.fit_image import looks_like_the_other
from napari_uda.inference.fit_structures import unreliable_share
from napari_uda.run.run import Run

LABELS = {"heart": 1, "liver": 2}
SHAPE = (12, 48, 48)
SPACING_MM = (4.0, 3.0, 3.0)
MR = Intensity(mode="percentile", bounds=(0.5, 99.5))
CT = Intensity(mode="window", bounds=(-300.0, 300.0))


def body(seed: int, *, ct: bool = False) -> tuple[Volume, np.ndarray]:
    """A trunk with a bright heart high up, front and left, and a liver of middle grey, low and right."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(SHAPE)
    shift = rng.uniform(-1, 1, 3)
    trunk = np.hypot((y - 23.5) / 20, (x - 23.5) / 22) < 1 + 0.03 * shift[0]
    heart = (
        np.hypot(np.hypot((z - 9 - shift[0] / 2) / 2.5, (y - 32 - shift[1]) / 7), (x - 17) / 8) < 1
    )
    liver = np.hypot(np.hypot((z - 3) / 3, (y - 24) / 9), (x - 33 - shift[2]) / 8) < 1
    labels = np.select([heart, liver], [1, 2], 0).astype(np.uint8)
    levels = (-1000, 40, 180, 100) if ct else (0, 300, 900, 600)
    grey = np.select([heart, liver, trunk], [levels[2], levels[3], levels[1]], levels[0])
    grey = grey + rng.normal(0, 15, SHAPE)
    if not ct:
        grey = np.maximum(grey * rng.uniform(0.7, 1.4), 0)  # scanners differ in scale
    affine = np.diag([*reversed(SPACING_MM), 1.0])
    return Volume(grey.astype(np.int16), affine, f"body_{seed}"), labels


def structures() -> dict[str, StructureStatistics]:
    """Of the labels of many bodies: volumes within a factor of two, places by the formula of `body`."""
    heart, liver = ((3.5, 8.5, -6.5), (-2.5, 0.5, 9.5))  # voxels from the middle: z, y, x
    scale = np.array(SPACING_MM)
    return {
        name: StructureStatistics(
            case_share=1,
            volume_ml=volume_ml,
            centre_mm=tuple((place * scale).tolist()),
            centre_spread_mm=(3.0, 3.0, 3.0),
        )
        for name, place, volume_ml in (("heart", heart, (12, 40)), ("liver", liver, (15, 50)))
    }


@functools.cache
def facts(*, adapted: bool = False, stored: bool = True) -> DataFacts:
    """Of a run on MR of six bodies; or of one that was adapted from CT to them."""
    grid = SliceGrid(axis=0, pixel_mm=3, size=48)
    mr = domain_statistics([measure_volume(body(seed)[0], MR) for seed in range(6)])
    ct = domain_statistics([measure_volume(body(seed, ct=True)[0], CT) for seed in range(6)])
    split = Split(train=("a",))
    if not stored:
        sizes = {name: StructureSize(area_mm2=1000, slice_share=0.5) for name in LABELS}
        return DataFacts(
            labels=LABELS, grid=grid, source_intensity=MR, source_range=(0, 900), source=split,
            sizes=sizes,
        )  # fmt: skip
    if adapted:
        return DataFacts(
            labels=LABELS, grid=grid, source=split, target=split, structures=structures(),
            source_intensity=CT, target_intensity=MR, source_statistics=ct, target_statistics=mr,
            source_modality="CT", target_modality="MR",
        )  # fmt: skip
    return DataFacts(
        labels=LABELS, grid=grid, source=split, structures=structures(),
        source_intensity=MR, source_statistics=mr,
    )  # fmt: skip


def scaled(volume: Volume, factor: float) -> Volume:
    return replace(volume, affine=volume.affine @ np.diag([factor, factor, factor, 1]))


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("seed", range(100, 106))
def test_new_images_of_the_domain_fit(seed: int, adapted: bool) -> None:
    volume, labels = body(seed)
    reliability = np.ones_like(labels)
    assert judge(facts(adapted=adapted), volume, labels, reliability) == Fit("fits")


@pytest.mark.parametrize(
    ("factor", "wide"),
    [(10, "it shows 480 x 1440 x 1440 mm"), (0.1, "it shows 4.8 x 14.4 x 14.4 mm")],
)
def test_a_header_in_wrong_units_does_not_fit(factor: float, wide: str) -> None:
    volume, labels = body(100)
    fit = judge(facts(), scaled(volume, factor), labels)
    assert fit.verdict == "does not fit"
    assert any(
        wide in reason and "training images show 48 x 144 x 144 mm" in reason
        for reason in fit.reasons
    )


def test_a_field_of_view_twice_as_large_is_doubtful() -> None:
    volume, labels = body(100)
    fit = judge(facts(), scaled(volume, 1.9), labels)
    assert fit.verdict == "doubtful"
    assert fit.reasons[0] == (
        "it shows 91.2 x 274 x 274 mm (foot to head, back to front, left to right), "
        "training images show 48 x 144 x 144 mm"
    )


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flips_are_named(axis: int, adapted: bool) -> None:
    volume, labels = body(101)
    # a network that finds structures wherever they are sees them on the other side, too
    for predicted in (labels, np.flip(labels, axis)):
        flipped = volume.with_array(np.flip(volume.array, axis))
        fit = judge(facts(adapted=adapted), flipped, predicted)
        assert fit.verdict == "does not fit"
        ways = ("from foot to head", "from back to front", "from left to right")
        assert f"it is flipped {ways[axis]}" in fit.reasons[0]


def test_an_inverted_image_does_not_fit() -> None:
    volume, labels = body(102)
    fit = judge(facts(), volume.with_array(volume.array.max() - volume.array), labels)
    assert fit.verdict == "does not fit"
    assert "bright and dark are exchanged" in fit.reasons[0]


def test_a_constant_image_does_not_fit() -> None:
    volume, labels = body(102)
    fit = judge(facts(), volume.with_array(np.full(SHAPE, 7, np.int16)), labels * 0)
    assert fit.verdict == "does not fit"
    assert set(fit.reasons) == {"every voxel is 7", "none of the structures was found"}


def test_another_object_does_not_fit() -> None:
    _, labels = body(103)
    z, y, _ = np.indices(SHAPE)
    bars = Volume((((y // 6 + z) % 2) * 500).astype(np.int16), np.diag([3, 3, 4, 1.0]), "bars")
    fit = judge(facts(), bars, labels)
    assert fit.verdict == "does not fit"
    assert any("another part of the body" in reason for reason in fit.reasons)


def test_grey_values_that_are_spread_differently_are_doubtful_at_least() -> None:
    volume, labels = body(103)
    darker = volume.with_array((volume.array.astype(float) ** 4 / 1e8).astype(np.int32))
    fit = judge(facts(), darker, labels)
    assert fit.verdict != "fits"
    assert any("its grey values are spread differently" in reason for reason in fit.reasons)


def test_ct_does_not_fit_a_run_on_mr() -> None:
    volume, labels = body(104, ct=True)
    fit = judge(facts(), volume, labels)
    assert fit.verdict == "does not fit"
    assert any("as in CT" in reason for reason in fit.reasons)


def test_an_image_of_the_source_is_doubtful_for_an_adapted_run() -> None:
    volume, labels = body(104, ct=True)
    fit = judge(facts(adapted=True), volume, labels)
    said = "it looks like the CT images with labels, and the run was adapted to MR images"
    assert fit == Fit("doubtful", (said,))


def test_an_image_of_the_target_is_doubtful_for_a_run_that_was_not_adapted() -> None:
    volume, labels = body(105)
    of_source = facts(adapted=True).model_copy(update={"target": None})
    said = "it looks like the MR images of the target, and the run was trained on CT images"
    assert judge(of_source, volume, labels) == Fit("doubtful", (said,))


def test_an_image_of_the_source_is_told_by_which_values_an_unadapted_run_reads_it() -> None:
    volume, labels = body(107, ct=True)
    fit = judge(facts(adapted=True).model_copy(update={"target": None}), volume, labels)
    assert fit.verdict != "fits"
    assert fit.reasons == (
        "it looks like the CT images with labels, and the run reads grey values as those of MR images; "
        "for CT images train one without --data.target",
    )


def test_the_percentile_that_is_said_is_the_one_that_differs_most() -> None:
    volume, labels = body(108)
    order = np.sort(volume.array, axis=None)
    bright = np.where(volume.array > order[int(0.8 * order.size)], order[-1], volume.array)
    (said,) = (
        r for r in judge(facts(), volume.with_array(bright), labels).reasons if "spread" in r
    )
    assert re.search(r"(90|95) % of them are below (9\d|100)% of the range", said), said


def test_the_sample_model_knows_its_images() -> None:
    samples = Path(napari_uda.__file__).parent / "sample_data"
    facts = Run.open(samples / "model").facts
    for domain, verdict in (("mr", "fits"), ("ct", "doubtful")):
        image = read_volume(samples / domain / "images" / f"{domain}_004.nii.gz")
        labels = read_volume(samples / domain / "labels" / f"{domain}_004.nii.gz").array
        fit = judge(facts, image, labels.astype(np.uint8))
        assert (fit.verdict, fit.note) == (verdict, "")
    wide = image.with_array(image.array)
    wide = replace(wide, affine=wide.affine @ np.diag([1.5, 1.5, 2, 1]))
    assert judge(facts, wide, labels.astype(np.uint8)).verdict != "fits"


def test_ct_that_begins_at_zero_does_not_fit() -> None:
    ct = domain_statistics([measure_volume(body(seed, ct=True)[0], CT) for seed in range(6)])
    run = facts().model_copy(update={"source_intensity": CT, "source_statistics": ct})
    volume, labels = body(106, ct=True)
    assert judge(run, volume, labels).verdict == "fits"
    fit = judge(run, volume.with_array(volume.array + 1024), labels)
    assert fit.verdict == "does not fit"
    assert any("Hounsfield units" in reason for reason in fit.reasons)


def test_structures_are_compared_with_the_labels_of_the_source() -> None:
    volume, labels = body(107)
    without = np.where(labels == 1, 0, labels).astype(np.uint8)
    assert judge(facts(), volume, without) == Fit(
        "doubtful", ("not found, but in the training volumes: heart",)
    )
    small = np.zeros_like(labels)
    small[9, 32, 17] = 1  # one voxel of 36 mm3 where the heart is
    small[labels == 2] = 2
    said = "structures of unusual size: heart 0.036 mL (training 12 to 40 mL)"
    assert judge(facts(), volume, small) == Fit("doubtful", (said,))
    moved = np.where(labels == 2, 2, np.roll(labels == 1, -24, 1)).astype(np.uint8)
    fit = judge(facts(), volume, moved)
    assert fit.verdict == "doubtful"
    assert "structures in unusual places: heart 7" in fit.reasons[0]
    assert fit.reasons[0].endswith("mm too far to the back")
    nothing = judge(facts(), volume, np.zeros_like(labels))
    assert nothing == Fit("does not fit", ("none of the structures was found",))


def test_unreliable_voxels_are_those_of_the_structures() -> None:
    volume, labels = body(108)
    reliability = np.ones_like(labels)
    assert unreliable_share(labels, reliability) == 0
    reliability[labels > 0] = 2
    assert (reliability == 2).mean() < 0.1  # of all voxels, most of which are air
    assert unreliable_share(labels, reliability) == 1
    assert np.isnan(unreliable_share(labels * 0, reliability))
    said = "100% of the voxels of the structures found are unreliable"
    assert judge(facts(), volume, labels, reliability) == Fit("doubtful", (said,))


def test_an_older_run_says_what_it_could_not_compare() -> None:
    run = facts(stored=False)
    # 1000 mm2 in half of 12 slices of 4 mm: 24 mL, what is found is within a factor of 8
    volume, labels = body(109)
    fit = judge(run, volume, labels)
    assert (fit.verdict, fit.reasons) == ("fits", ())
    assert "stored nothing of its training images" in fit.note
    assert str(fit) == f"fits ({fit.note})"
    wide = judge(run, scaled(volume, 10), labels)
    assert wide.verdict == "does not fit"
    assert "its slices are 1440 mm wide, those of the training images about 144 mm" in wide.reasons
    assert any("structures of unusual size" in reason for reason in wide.reasons)
    low = judge(run, volume.with_array(volume.array - 1000), labels)
    assert low.verdict == "does not fit"


def test_few_training_images_cannot_tell_flips() -> None:
    few = domain_statistics([measure_volume(body(seed)[0], MR) for seed in range(2)])
    volume, labels = body(110)
    run = facts().model_copy(update={"source_statistics": few})
    fit = judge(run, volume, labels)
    assert fit.verdict == "fits"
    assert fit.note == "with 2 training images flips cannot be told, so they were not looked for"
    one = domain_statistics([measure_volume(body(0)[0], MR)])
    run = facts().model_copy(update={"source_statistics": one})
    assert judge(run, volume, labels).verdict == "fits"
    assert judge(run, scaled(volume, 10), labels).verdict == "does not fit"


def test_a_verdict_is_one_line() -> None:
    assert str(Fit("fits")) == "fits"
    assert str(Fit("doubtful", ("one", "two"))) == "doubtful: one; two"


def test_sizes_are_never_powers_of_ten() -> None:
    assert [plain(value, 3) for value in (1043.2, 104.32, 0.0123456, 0.0)] == [
        "1040", "104", "0.0123", "0",
    ]  # fmt: skip
    assert span_text((988.04, 21290.3)) == "988 to 21290"


def test_a_volume_of_the_other_domain_is_told() -> None:
    """For who translates from one domain to the other: CT taken for MR, and MR for CT."""
    both = facts(adapted=True)
    mr, ct = body(100)[0], body(100, ct=True)[0]
    assert [looks_like_the_other(both, mr, side) for side in ("source", "target")] == [True, False]
    assert [looks_like_the_other(both, ct, side) for side in ("source", "target")] == [False, True]
    odd = mr.with_array(np.full_like(mr.array, 7))
    assert not looks_like_the_other(both, odd, "source")
    assert not looks_like_the_other(facts(), ct, "target")  # nothing is known of a target
