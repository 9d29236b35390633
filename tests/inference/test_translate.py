"""Volumes in the look of the other domain, on their own grid."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny_cases import all_orientations, blob_case, reoriented, small_config, trained_method
from torch import Tensor, nn

import napari_uda as uda
from napari_uda.api import iterate
from napari_uda.core.errors import Cancelled, InputError
from napari_uda.data.intensity import Intensity
from napari_uda.data.volume import Volume, read_volume
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.predict import segment_volume
from napari_uda.inference.translate import Translation, translate
from napari_uda.players.translator import Translator
from napari_uda.run.run import Run

Domains = tuple[Path, Path]
DIRECTIONS = ("target_to_source", "source_to_target")


@pytest.fixture(scope="module")
def attent_run(two_domains: Domains, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two steps of attent. Tests must leave its folder as it is."""
    run = Run.create(
        tmp_path_factory.mktemp("runs") / "attent", small_config("attent", *two_domains, steps=2)
    )
    for _ in iterate(run):
        pass
    return run


class Negative(nn.Module):
    """A generator that turns grey values round, and back."""

    def with_attention(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return -image, {"attention_full": (image + 1) / 2}

    def forward(self, image: Tensor) -> Tensor:
        return -image


@pytest.fixture
def negative(attent_run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The run with generators whose output is known, and windows for both domains."""
    load = LoadedRun.load

    def loaded(run: Any, device: str = "auto") -> LoadedRun:
        found = load(run, device)
        for direction in DIRECTIONS:
            found.method.translator.generators[direction] = Negative()
        return found

    monkeypatch.setattr(LoadedRun, "load", loaded)
    monkeypatch.setattr(Translator, "_both", lambda self: tuple(self.generators.values()))
    window = Intensity(mode="window", bounds=(0.0, 400.0))
    run = Run.open(attent_run.path)
    run.__dict__["facts"] = run.facts.model_copy(  # where a cached property keeps its value
        update={
            "source_intensity": window,
            "target_intensity": window,
            "source_range": (-100.0, 300.0),
            "target_range": (0.0, 400.0),
            "grid": run.facts.grid.model_copy(update={"axis": 0, "pixel_mm": 1.5}),
        }
    )
    return run


def _volume(shape: tuple[int, int, int] = (5, 12, 9)) -> Volume:
    array = np.random.default_rng(1).integers(0, 401, shape).astype(np.int16)
    affine = np.diag([1.5, 1.5, 4.0, 1.0])
    affine[:3, 3] = [-3, 2, 1]
    return Volume(array, affine, "case")


@pytest.mark.parametrize(("order", "flips"), all_orientations()[::5])
def test_every_voxel_comes_back_to_its_place(order, flips, negative: Run) -> None:
    volume = reoriented(_volume(), order, flips)
    result = translate(negative, volume, device="cpu")
    values = volume.array / 200 - 1
    for array in (result.translated, result.cycle, *result.attention.values()):
        assert array.dtype == np.float32
        assert array.shape == volume.array.shape
        assert array.flags.c_contiguous
    # the source's typical range is -100 to 300
    np.testing.assert_allclose(result.translated, 100 - 200 * values, atol=1e-3)
    np.testing.assert_allclose(result.cycle, volume.array, atol=1e-3)
    np.testing.assert_allclose(result.attention["attention_full"], (values + 1) / 2, atol=1e-6)
    assert (result.direction, result.case) == ("target_to_source", "case")


def test_the_other_direction_has_the_other_range(negative: Run) -> None:
    volume = _volume()
    result = translate(negative, volume, direction="source_to_target", device="cpu")
    np.testing.assert_allclose(result.translated, 400 - volume.array, atol=1e-3)
    np.testing.assert_allclose(result.cycle, volume.array, atol=1e-3)


def test_very_large_slices_are_tiled(negative: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = negative.facts.grid.model_copy(update={"size": 8})
    negative.__dict__["facts"] = negative.facts.model_copy(update={"grid": grid})
    monkeypatch.setattr(
        Negative,
        "with_attention",
        lambda self, image: (-image, dict.fromkeys("abc", (image + 1) / 2)),
    )
    volume = _volume((2, 40, 35))
    result = translate(negative, volume, device="cpu")
    np.testing.assert_allclose(result.translated, 300 - volume.array, atol=1e-2)
    np.testing.assert_allclose(result.attention["c"], volume.array / 400, atol=1e-5)


def test_slice_change_by_hand(negative: Run) -> None:
    array = np.zeros((3, 8, 8), np.int16)
    array[1] = 100  # 0.5 in the network's units
    array[2, :4] = 400
    volume = Volume(array, np.diag([1.5, 1.5, 4.0, 1.0]), "steps")
    result = translate(negative, volume, device="cpu")
    expected = (0.5 + (1.5 + 0.5) / 2) / 2
    assert result.slice_change == pytest.approx((expected, expected), abs=1e-5)
    one = Volume(array[:1], volume.affine, "one")
    assert translate(negative, one, device="cpu").slice_change == (0.0, 0.0)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_trained_run_translates_both_ways(
    direction: str, attent_run: Run, two_domains: Domains
) -> None:
    side = two_domains[direction.startswith("target")]
    file = next((side / "images").iterdir())
    result = uda.translate(attent_run.path, file, direction=direction, device="cpu")
    volume = read_volume(file)
    facts = attent_run.facts
    low, high = facts.source_range if direction.endswith("source") else facts.target_range
    assert low <= result.translated.min() < result.translated.max() <= high
    assert np.percentile(volume.array, 0.4) <= result.cycle.min()
    assert result.cycle.max() <= np.percentile(volume.array, 99.6)
    assert list(result.attention) == ["attention_quarter", "attention_half", "attention_full"]
    for attention in result.attention.values():
        assert attention.shape == volume.array.shape
        assert 0 <= attention.min() < attention.max() <= 1
    assert min(result.slice_change) > 0
    assert result.run == "attent"


def test_ranges_of_typical_volumes_are_measured(attent_run: Run, two_domains: Domains) -> None:
    facts = attent_run.facts
    assert facts.source_intensity.mode == "window"
    assert facts.source_range == facts.source_intensity.bounds
    assert facts.target_intensity.mode == "percentile"
    files = sorted((two_domains[1] / "images").iterdir())
    bounds = [np.percentile(read_volume(file).array, (0.5, 99.5)) for file in files]
    assert facts.target_range == pytest.approx(np.median(bounds, axis=0))


def test_a_prediction_is_made_from_the_translation(attent_run: Run) -> None:
    """What `translate` shows is what the segmentor is given."""
    blob, _ = blob_case("case", 3, bright=False)
    pixel = attent_run.facts.grid.pixel_mm
    volume = Volume(blob.array[:, 3:33, 4:37].copy(), np.diag([pixel, pixel, 4, 1]), "case")
    shown = translate(attent_run, volume, device="cpu").translated
    seen: list[Tensor] = []
    method = trained_method(attent_run)
    method.segmentor.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    facts = attent_run.facts
    segment_volume(method, facts, volume, facts.target_intensity, torch.device("cpu"), batch_size=6)
    low, high = facts.source_range
    given = low + (seen[0][:, 0].numpy() + 1) / 2 * (high - low)
    assert given.shape == (6, 32, 36)  # padded to what the network accepts
    canonical = volume.with_array(shown).canonical().array
    np.testing.assert_allclose(canonical, given[:, 1:31, 1:34], atol=(high - low) * 1e-4)


def test_batches_and_progress(attent_run: Run) -> None:
    volume, _ = blob_case("case", 3, bright=False)
    said: list[tuple[int, int]] = []
    whole = translate(attent_run, volume, device="cpu")
    parts = translate(
        attent_run, volume, device="cpu", batch_size=4, on_progress=lambda *n: said.append(n)
    )
    assert said == [(4, 6), (6, 6)]
    np.testing.assert_allclose(parts.translated, whole.translated, rtol=1e-4, atol=1e-2)
    assert parts.slice_change == pytest.approx(whole.slice_change, rel=1e-4)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        translate(attent_run, volume, device="cpu", stop=stop)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_memory_that_runs_out_halves_the_batch(
    error: type[Exception], attent_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_attention, batches = Translator.with_attention, []

    def hungry(self: Translator, image: Tensor, direction: Any) -> Any:
        batches.append(len(image))
        if len(image) > 2:
            raise error
        return with_attention(self, image, direction)

    monkeypatch.setattr(Translator, "with_attention", hungry)
    volume, _ = blob_case("case", 3, bright=False)
    translate(attent_run, volume, device="cpu")
    assert batches == [6, 3, 1, 1, 1, 1, 1, 1]


def test_a_translation_that_is_not_finite_names_the_volume(
    attent_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_attention = Translator.with_attention

    def bad(self: Translator, image: Any, direction: Any) -> Any:
        translated, maps = with_attention(self, image, direction)
        return translated * float("nan"), maps

    monkeypatch.setattr(Translator, "with_attention", bad)
    volume, _ = blob_case("patient_8", 3, bright=False)
    with pytest.raises(InputError, match="patient_8: the network's result holds numbers that are"):
        translate(attent_run, volume, device="cpu")


def test_generators_without_gates_have_no_maps(two_domains: Domains, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", small_config("cyclegan", *two_domains, steps=1))
    for _ in iterate(run):
        pass
    volume, _ = blob_case("case", 3, bright=False)
    assert translate(run, volume, device="cpu").attention == {}


def test_what_cannot_be_translated_is_refused_in_one_sentence(
    attent_run: Run, tiny_run: Run
) -> None:
    volume = _volume()
    with pytest.raises(InputError, match="trained with se_asa, which has no generators; give"):
        translate(tiny_run, volume, device="cpu")
    with pytest.raises(InputError, match="direction is 'there'; choose target_to_source"):
        translate(attent_run, volume, direction="there")
    with pytest.raises(InputError, match="batch_size is -1"):
        translate(attent_run, volume, batch_size=-1)


def test_a_run_that_does_not_know_its_ranges_is_refused(attent_run: Run, tmp_path: Path) -> None:
    old = Run.open(shutil.copytree(attent_run.path, tmp_path / "old"))
    old.write_facts(old.facts.model_copy(update={"source_range": None}))
    with pytest.raises(InputError, match="does not say which intensities its source has"):
        translate(old.path, _volume(), device="cpu")


def test_save_writes_every_map_on_the_inputs_grid(attent_run: Run, tmp_path: Path) -> None:
    image, _ = blob_case("patient_7", 5, bright=False)
    turned = np.eye(4)
    turned[:3, :3] = nib.eulerangles.euler2mat(0.1, 0.2, 0.3)
    affine = (turned @ image.affine).astype(np.float32).astype(np.float64)
    result: Translation = translate(
        attent_run, Volume(image.array, affine, "patient_7"), device="cpu"
    )
    written = result.save(tmp_path / "out")
    maps = {"translated": result.translated, **result.attention, "cycle": result.cycle}
    gates = [f"attention_{resolution}" for resolution in ("quarter", "half", "full")]
    assert list(maps) == ["translated", *gates, "cycle"]
    names = [f"patient_7_{part}.nii.gz" for part in maps]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    for path, array in zip(written, maps.values(), strict=True):
        back = read_volume(path)
        np.testing.assert_array_equal(back.affine, affine)
        np.testing.assert_array_equal(back.array, array)


def test_an_image_of_the_other_domain_is_noted(
    attent_run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def other(facts: object, volume: object, domain: str) -> bool:
        asked.append(domain)
        return domain == "target"

    monkeypatch.setattr("napari_uda.inference.translate.looks_like_the_other", other)
    volume, _ = blob_case("case", 3, bright=False)
    for direction in DIRECTIONS:
        translate(attent_run, volume, direction=direction, device="cpu")
    assert sorted(asked) == ["source", "target"]
    assert caplog.messages == [
        "case looks like the images of the source, and is translated as one of the target; the direction may be "
        "source_to_target"
    ]
