"""From a volume to maps on its own grid."""

from __future__ import annotations

import logging
import math
import threading
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny_cases import LABELS, all_orientations, blob_case, reoriented
from torch import Tensor

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.data.facts import DataFacts
from napari_uda.data.intensity import Intensity
from napari_uda.data.slices import SliceGrid, fit_window
from napari_uda.data.volume import Volume, read_volume
from napari_uda.inference.fit import judge
from napari_uda.inference.predict import predict, segment_volume
from napari_uda.losses.entropy import entropy_of_probabilities
from napari_uda.methods.base import Method, MethodConfig
from napari_uda.networks.segmentor import Segmentor, SegmentorOutput
from napari_uda.run.run import Run
from napari_uda.training.adapt import adapt
from napari_uda.uncertainty.view_vote import ViewVote

CPU = torch.device("cpu")
WINDOW = Intensity(mode="window", bounds=(0.0, 2.0))
VALUES = np.array([0, 1, 3], np.uint8)  # classes 0, 1, 2 as label values
CERTAIN = 200.0


class GreySegmentor(Segmentor):
    """Reads the class off the grey value: -1, 0, 1 are classes 0, 1, 2. No weights."""

    def __init__(self, neighbours: int = 1, sharpness: float = CERTAIN) -> None:
        super().__init__(neighbours, 3, 1, stride=4)
        self.sharpness = sharpness
        self.batches: list[int] = []

    def forward(self, image: Tensor) -> SegmentorOutput:
        self.check_input(image)
        self.batches.append(len(image))
        middle = image[:, image.shape[1] // 2].float()
        levels = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)
        return SegmentorOutput(-self.sharpness * (middle[:, None] - levels) ** 2, None, image)


class NeighbourSegmentor(GreySegmentor):
    """Reads the class off the mean of three slices, the upper one counting twice; never quite certain."""

    def __init__(self) -> None:
        super().__init__(neighbours=3, sharpness=1.0)

    def forward(self, image: Tensor) -> SegmentorOutput:
        mean = (image[:, :1] + image[:, 1:2] + 2 * image[:, 2:]) / 4
        return super().forward(mean.expand(-1, 3, -1, -1))


class Hungry(GreySegmentor):
    """Runs out of memory with more slices than `limit`."""

    def __init__(self, limit: int, error: type[Exception] | None = None) -> None:
        super().__init__()
        self.limit = limit
        self.error = error or torch.OutOfMemoryError

    def forward(self, image: Tensor) -> SegmentorOutput:
        if len(image) > self.limit:
            raise self.error("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")
        return super().forward(image)


class GreyConfig(MethodConfig):
    """No settings of its own."""

    name: str = "grey"


class GreyMethod(Method[GreyConfig]):
    """A method that is its stub network."""


def _method(segmentor: Segmentor | None = None, **reliability: float) -> GreyMethod:
    segmentor = segmentor or GreySegmentor()
    return GreyMethod(GreyConfig(reliability=reliability), segmentor, 3)


def _facts(axis: int = 0, pixel_mm: float = 1.5, size: int = 32, neighbours: int = 1) -> DataFacts:
    grid = SliceGrid(axis=axis, pixel_mm=pixel_mm, size=size, neighbours=neighbours)
    return DataFacts(labels=LABELS, grid=grid, target_intensity=WINDOW)


def _volume(shape: tuple[int, int, int] = (5, 9, 7), seed: int = 0) -> Volume:
    """Random classes as grey values; in-plane pixels of 1.5 mm, slices 3 mm apart."""
    array = np.random.default_rng(seed).integers(0, 3, shape, dtype=np.int16)
    affine = np.diag([1.5, 1.5, 3.0, 1.0])
    affine[:3, 3] = [-30.25, 12.5, 7.0]
    return Volume(array, affine, "case")


def _segment(volume: Volume, method: Method[Any] | None = None, **options: Any) -> Any:
    """Segment, with a vote whose spectra are black when `reliability` is asked for."""
    facts = options.pop("facts", None) or _facts()
    method = method or _method()
    settings = method.config.reliability
    side = 2 * settings.fourier_half_width + 1
    bank = torch.zeros(settings.bank_size, facts.grid.neighbours, side, side)
    vote = ViewVote(settings, bank) if options.pop("reliability", False) else None
    return segment_volume(method, facts, volume, WINDOW, CPU, vote=vote, **options)


# --- the way there and back -----------------------------------------------------------------------


@pytest.mark.parametrize(("order", "flips"), all_orientations())
def test_an_identity_network_returns_every_voxel(order, flips) -> None:
    volume = reoriented(_volume(), order, flips)
    maps = _segment(volume)
    assert maps.labels.dtype == np.uint8
    assert maps.labels.shape == volume.array.shape
    np.testing.assert_array_equal(maps.labels, VALUES[volume.array])


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_slabs_give_what_the_whole_volume_gives_slice_by_slice(batch_size: int) -> None:
    """Grey values scaled slab by slab see the bounds of the whole volume, and neighbours beyond the slab."""
    volume = reoriented(_volume(), *all_orientations()[17])
    method = _method(NeighbourSegmentor())
    intensity = Intensity(mode="percentile", bounds=(5, 95))
    facts = _facts(neighbours=3)
    maps = segment_volume(method, facts, volume, intensity, CPU, batch_size=batch_size)
    whole = intensity.apply(volume.canonical().array)
    labels, entropy = np.empty(whole.shape, np.uint8), np.empty(whole.shape, np.float32)
    for index in range(len(whole)):
        near = [whole[min(max(index + step, 0), len(whole) - 1)] for step in (-1, 0, 1)]
        image = torch.from_numpy(np.stack(near))[None]
        height, width = image.shape[-2:]
        padded = fit_window(image, (-(-height // 4) * 4, -(-width // 4) * 4), -1.0)
        logits = fit_window(method.predict(padded), (height, width), 0.0)
        shares = logits.softmax(1)
        labels[index] = VALUES[shares.argmax(1)[0].numpy()]
        entropy[index] = entropy_of_probabilities(shares)[0].numpy()
    assert 0 < entropy.mean() < 1
    np.testing.assert_array_equal(maps.labels, volume.orientation.invert(labels))
    np.testing.assert_allclose(maps.entropy, volume.orientation.invert(entropy), atol=1e-6)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_an_oblique_volume_comes_back_too(neighbours: int) -> None:
    volume = _volume((6, 11, 10))
    turned = np.eye(4)
    turned[:3, :3] = nib.eulerangles.euler2mat(0.2, -0.15, 0.3)
    for order, flips in all_orientations()[::7]:
        there = reoriented(volume, order, flips)
        there = Volume(there.array, turned @ there.affine, "oblique")
        maps = _segment(
            there, _method(GreySegmentor(neighbours)), facts=_facts(neighbours=neighbours)
        )
        np.testing.assert_array_equal(maps.labels, VALUES[there.array])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_any_axis_come_back(axis: int) -> None:
    volume = _volume((6, 7, 8))
    isotropic = Volume(volume.array, np.diag([1.5, 1.5, 1.5, 1.0]), "case")
    maps = _segment(isotropic, facts=_facts(axis))
    np.testing.assert_array_equal(maps.labels, VALUES[volume.array])


def test_slices_of_many_windows_are_tiled() -> None:
    volume = _volume((2, 40, 53))  # more than four times the window of 8
    maps = _segment(volume, facts=_facts(size=8))
    np.testing.assert_array_equal(maps.labels, VALUES[volume.array])


def test_a_coarser_network_grid_keeps_places_in_millimetres() -> None:
    array = np.zeros((2, 48, 48), np.int16)
    array[:, 12:36, 24:36] = 1
    maps = _segment(Volume(array, np.diag([1.5, 1.5, 3, 1]), "case"), facts=_facts(pixel_mm=3.1))
    inside = maps.labels == 1
    overlap = 2 * (inside & (array == 1)).sum() / (inside.sum() + (array == 1).sum())
    assert overlap > 0.9  # the borders are those of pixels twice as large
    centre, expected = (np.argwhere(mask).mean(0) for mask in (inside, array == 1))
    np.testing.assert_allclose(centre, expected, atol=0.6)  # under one millimetre


def test_entropy_by_hand() -> None:
    flat = Volume(np.ones((2, 8, 8), np.int16), np.diag([1.5, 1.5, 3, 1]), "flat")
    # grey 0 lies one step from classes 0 and 2: logits -s, 0, -s
    for sharpness in (0.0, 1.0, CERTAIN):
        weights = [math.exp(-sharpness), 1.0, math.exp(-sharpness)]
        p = [w / sum(weights) for w in weights]
        expected = -sum(q * math.log(q) for q in p) / math.log(3)
        maps = _segment(flat, _method(GreySegmentor(sharpness=sharpness)))
        np.testing.assert_allclose(maps.entropy, expected, atol=1e-5)
    assert maps.entropy.dtype == np.float32


def test_the_network_is_left_as_it_was_found() -> None:
    method = _method().train()
    _segment(_volume(), method)
    assert method.training
    method.eval()
    _segment(_volume(), method)
    assert not method.training


# --- reliability ----------------------------------------------------------------------------------


def test_views_that_change_nothing_leave_every_voxel_reliable() -> None:
    method = _method(jitter=0, blur_probability=0, fourier_mu=0)
    for order, flips in all_orientations()[::11]:
        maps = _segment(reoriented(_volume(), order, flips), method, reliability=True)
        assert maps.reliability.dtype == np.uint8
        assert (maps.reliability == 1).all()


def test_voxels_whose_views_contradict_are_unreliable() -> None:
    # amplitudes of the bank are 0, so every Fourier view is black: class 0 wherever mu is 1
    method = _method(jitter=0, blur_probability=0, fourier_mu=1, fourier_half_width=0)
    flat = np.zeros((2, 8, 8), np.int16)
    flat[1] = 2  # this slice turns from white to black; the other one stays black
    maps = _segment(Volume(flat, np.diag([1.5, 1.5, 3, 1]), "flat"), method, reliability=True)
    assert (maps.reliability[0] == 1).all()
    assert (maps.reliability[1] == 2).all()
    np.testing.assert_array_equal(maps.labels, VALUES[flat])  # labels come from the slice itself


def test_without_the_vote_nothing_is_said_of_reliability() -> None:
    method = _method(jitter=0.9)
    assert _segment(_volume(), method, reliability=False).reliability is None
    assert sum(method.segmentor.batches) == 5  # one pass of each


@pytest.mark.parametrize("shape", [(5, 9, 1), (3, 2, 9), (1, 1, 1)])
def test_slices_too_small_for_the_vote_are_refused_in_one_sentence(shape) -> None:
    volume = _volume(shape)
    with pytest.raises(InputError, match=r"case: its slices have \d x \d pixels"):
        _segment(volume, reliability=True)
    np.testing.assert_array_equal(_segment(volume).labels, VALUES[volume.array])


# --- batches, memory, cancelling ------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 5, 99])
def test_batches_do_not_change_the_maps(size: int) -> None:
    volume = _volume((5, 12, 12))
    method = _method(GreySegmentor(3, sharpness=2.0))
    whole, parts = (
        _segment(volume, method, facts=_facts(neighbours=3), batch_size=n, reliability=True)
        for n in (0, size)
    )
    np.testing.assert_array_equal(parts.labels, whole.labels)
    np.testing.assert_array_equal(parts.reliability, whole.reliability)
    np.testing.assert_allclose(parts.entropy, whole.entropy, atol=1e-6)
    assert max(method.segmentor.batches) <= max(5, size)


def test_progress_counts_slices() -> None:
    said: list[tuple[int, int]] = []
    _segment(_volume(), batch_size=2, on_progress=lambda done, total: said.append((done, total)))
    assert said == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_smaller_batches_when_memory_runs_out(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    volume = _volume((7, 9, 9))
    hungry = Hungry(2, error)
    said: list[int] = []
    with caplog.at_level(logging.WARNING, "napari_uda"):
        maps = _segment(
            volume,
            _method(hungry),
            batch_size=7,
            on_progress=lambda done, _: said.append(done),
        )
    np.testing.assert_array_equal(maps.labels, VALUES[volume.array])
    assert [record.getMessage() for record in caplog.records] == [
        "memory ran out with 7 slices at once; going on with 3",
        "memory ran out with 3 slices at once; going on with 1",
    ]
    assert said == [7]


@pytest.mark.parametrize("vote", [False, True])
def test_batches_side_by_side_give_what_one_after_another_give(vote: bool) -> None:
    volume = _volume((5, 12, 12))
    said: list[int] = []
    one, three = (
        _segment(
            volume,
            _method(GreySegmentor(3, sharpness=2.0)),
            facts=_facts(neighbours=3),
            batch_size=1,
            reliability=vote,
            at_once=at_once,
            on_progress=lambda done, _: said.append(done),
        )
        for at_once in (1, 3)
    )
    np.testing.assert_array_equal(three.labels, one.labels)
    np.testing.assert_array_equal(three.reliability, one.reliability)
    np.testing.assert_array_equal(three.entropy, one.entropy)
    assert said == [1, 2, 3, 4, 5] * 2


def test_memory_that_runs_out_side_by_side_makes_batches_smaller() -> None:
    volume = _volume((7, 9, 9))
    maps = _segment(volume, _method(Hungry(2)), batch_size=3, at_once=2)
    np.testing.assert_array_equal(maps.labels, VALUES[volume.array])


def test_one_slice_that_does_not_fit_is_said_in_one_sentence() -> None:
    with pytest.raises(InputError, match="case: one slice does not fit into memory"):
        _segment(_volume(), _method(Hungry(0)))


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    class Broken(GreySegmentor):
        def forward(self, image: Tensor) -> SegmentorOutput:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    method = _method(Broken()).train()
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        _segment(_volume(), method)
    assert method.training


def test_a_stop_event_cancels_before_the_next_batch() -> None:
    stop, done = threading.Event(), []

    def progress(finished: int, total: int) -> None:
        done.append(finished)
        if finished == 2:
            stop.set()

    method = _method().train()
    with pytest.raises(Cancelled):
        _segment(_volume(), method, batch_size=1, on_progress=progress, stop=stop)
    assert done == [1, 2]
    assert method.training
    with pytest.raises(Cancelled):
        _segment(_volume(), method, stop=stop, on_progress=progress)
    assert done == [1, 2]


# --- through a run --------------------------------------------------------------------------------


def test_predict_through_a_run(tiny_run: Run, two_domains: tuple[Path, Path]) -> None:
    file = two_domains[1] / "images" / "target_0.nii.gz"
    prediction = predict(tiny_run.path, file, device="cpu")
    volume = read_volume(file)
    for array, dtype in (
        (prediction.labels, np.uint8),
        (prediction.entropy, np.float32),
        (prediction.reliability, np.uint8),
    ):
        assert array.shape == volume.array.shape
        assert array.dtype == dtype
        assert array.flags.c_contiguous
    assert set(np.unique(prediction.labels)) <= {0, 1, 3}
    assert prediction.entropy.min() >= 0
    assert prediction.entropy.max() <= 1
    assert prediction.entropy.std() > 0
    assert set(np.unique(prediction.reliability)) <= {1, 2}
    assert prediction.names == {1: "inner", 3: "outer"}
    assert (prediction.case, prediction.run) == ("target_0", tiny_run.path.name)
    wanted = judge(tiny_run.facts, volume, prediction.labels, prediction.reliability)
    assert prediction.fit == wanted
    share = (prediction.reliability[prediction.labels > 0] == 2).mean()
    assert prediction.unreliable_structures == pytest.approx(share, nan_ok=True)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 2), (3, 1, 40)])
def test_every_volume_gets_a_verdict_however_small(
    tiny_run: Run, shape: tuple[int, int, int]
) -> None:
    array = np.arange(math.prod(shape), dtype=np.int16).reshape(shape)
    small = Volume(array, np.diag([1.5, 1.5, 4, 1]), "small")
    prediction = predict(tiny_run, small, device="cpu", reliability=False)
    assert prediction.fit.verdict == "does not fit"
    assert prediction.summary().startswith("small: does not fit: ")
    assert "unreliable" not in prediction.summary()


def test_a_run_gives_the_same_maps_for_every_orientation_and_batch(tiny_run: Run) -> None:
    volume, _ = blob_case("case", 77, bright=False)
    expected = predict(tiny_run, volume, device="cpu")
    for order, flips in all_orientations()[5::17]:
        turned = predict(tiny_run, reoriented(volume, order, flips), device="cpu", batch_size=4)
        for name in ("labels", "entropy", "reliability"):
            back = Volume(getattr(expected, name), volume.affine, "case")
            wanted = reoriented(back, order, flips).array
            got = getattr(turned, name)
            # sums in another order move logits by 1e-6; classes change on exact ties at most
            assert (np.abs(got.astype(float) - wanted) > 1e-4).mean() < 1e-3, name


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_in_memory_that_are_no_numbers_are_counted(tiny_run: Run, bad: float) -> None:
    volume, _ = blob_case("case", 77, bright=False)
    array = volume.array.astype(np.float32)
    array[2, 3, 4:6] = bad
    broken = volume.with_array(array)
    wanted = r"^case: 2 of its 9600 voxels are NaN or infinite; replace them"
    for compute in (predict, adapt):
        with pytest.raises(InputError, match=wanted):
            compute(tiny_run, broken, device="cpu")


def test_yes_and_no_are_grey_values_and_complex_numbers_are_not(tiny_run: Run) -> None:
    volume, _ = blob_case("case", 77, bright=False)
    mask = volume.array > 200
    expected = predict(tiny_run, volume.with_array(mask.astype(np.int16)), device="cpu")
    got = predict(tiny_run, volume.with_array(mask), device="cpu")
    np.testing.assert_array_equal(got.labels, expected.labels)
    with pytest.raises(
        InputError, match="case: its voxels are complex64; give a grey-value volume"
    ):
        predict(tiny_run, volume.with_array(mask.astype(np.complex64)), device="cpu")


def test_save_writes_three_maps_on_the_inputs_grid(
    tiny_run: Run, tmp_path: Path, two_domains: tuple[Path, Path]
) -> None:
    image, _ = blob_case("patient_7", 5, bright=False)
    turned = np.eye(4)
    turned[:3, :3] = nib.eulerangles.euler2mat(0.1, 0.2, 0.3)
    affine = (turned @ image.affine).astype(np.float32).astype(np.float64)
    oblique = Volume(image.array, affine, "patient_7")
    prediction = predict(tiny_run, oblique, device="cpu")
    written = prediction.save(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "patient_7.json",
        "patient_7_entropy.nii.gz",
        "patient_7_labels.nii.gz",
        "patient_7_reliability.nii.gz",
    ]
    for path, role in zip(written[:3], ("labels", "entropy", "reliability"), strict=True):
        back = read_volume(path)
        np.testing.assert_array_equal(back.affine, affine)
        off = 0.5001 / 255 if role == "entropy" else 0
        np.testing.assert_allclose(back.array, getattr(prediction, role), rtol=0, atol=off)


def test_save_into_a_file_is_refused(tiny_run: Run, tmp_path: Path) -> None:
    prediction = predict(tiny_run, _volume((2, 16, 16)), device="cpu", reliability=False)
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(InputError, match="cannot write"):
        prediction.save(tmp_path / "out")


def test_what_is_no_run_or_no_count_is_refused(tmp_path: Path, tiny_run: Run) -> None:
    with pytest.raises(InputError, match="is not a run folder"):
        predict(tmp_path, _volume())
    with pytest.raises(InputError, match="batch_size is -1"):
        predict(tiny_run, _volume(), batch_size=-1)
    with pytest.raises(InputError, match="device 'cuda:77' cannot be used"):
        predict(tiny_run, _volume(), device="cuda:77")
