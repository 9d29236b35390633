"""adapt: every source-free method on one volume, what is reported, and when a result is given up."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
import threading
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny_cases import all_orientations, reoriented, small_config, trained_method, without_checksums
from torch.nn.modules.batchnorm import _BatchNorm

import napari_uda as uda
from napari_uda.api import iterate
from napari_uda.core.errors import Cancelled, InputError
from napari_uda.data import volume_change
from napari_uda.data.folder import DataFolder
from napari_uda.data.volume import read_volume
from napari_uda.data.weak_labels import make_weak_labels
from napari_uda.inference.loaded import LoadedRun
from napari_uda.methods import tent as tent_module
from napari_uda.methods.registry import METHODS as ALL_METHODS
from napari_uda.methods.registry import source_free_methods
from napari_uda.methods.sfda import SFDA, SFDAConfig
from napari_uda.methods.tent import TentConfig
from napari_uda.run.run import Run
from napari_uda.training import adapt as adapt_module
from napari_uda.training.adapt import Adaptation, adapt
from napari_uda.training.adapt_config import STEPS, AdaptConfig, build_adapt_config

Domains = tuple[Path, Path]
METHODS = source_free_methods()


@pytest.fixture(scope="module")
def source_run(two_domains: Domains, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has learnt a little of the source, and is told the target's intensities."""
    config = small_config(
        "source_only",
        *two_domains,
        steps=40,
        batch_size=6,
        method={"segmentor_optimizer": {"lr": 1e-2}},
    )
    run = Run.create(tmp_path_factory.mktemp("runs") / "source", config)
    for _ in iterate(run):
        pass
    return run


@pytest.fixture
def image(two_domains: Domains) -> Path:
    return two_domains[1] / "images" / "target_1.nii.gz"


def _digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


# --- what comes out ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_before_is_predict_and_after_is_adapted(method: Any, source_run: Run, image: Path) -> None:
    folder = _digest(source_run.path)
    (found,) = adapt(source_run, image, method=method, steps=5, max_volume_change=0)
    expected = uda.predict(source_run, image, reliability=False)  # computed as fast as can be
    np.testing.assert_array_equal(found.before.labels, expected.labels)
    np.testing.assert_array_equal(found.before.entropy, expected.entropy)
    assert not np.array_equal(found.after.entropy, found.before.entropy)
    assert found.entropy_before == pytest.approx(float(expected.entropy.mean()), rel=1e-5)
    assert found.entropy_after == pytest.approx(float(found.after.entropy.mean()), rel=1e-5)
    assert (found.method, found.steps) == (method, 0 if method == "bn_adapt" else 5)
    assert not found.reverted
    assert found.reason == ""
    voxel_ml = 4.0 * 1.5 * 1.5 / 1000
    for name, value in (("inner", 1), ("outer", 3)):
        for prediction, volume in zip(
            (found.before, found.after), found.volumes_ml[name], strict=True
        ):
            assert volume == pytest.approx((prediction.labels == value).sum() * voxel_ml)
    assert _digest(source_run.path) == folder  # the run is as it was
    assert found.before.case == found.after.case == "target_1"


def test_tent_lowers_entropy_step_by_step(source_run: Run, image: Path) -> None:
    given: dict[str, Any] = {
        "method": "tent",
        "settings": {"segmentor_optimizer": {"lr": 3e-2}},
        "max_volume_change": 0,
    }
    few, many = (adapt(source_run, image, steps=n, **given)[0].entropy_after for n in (1, 30))
    assert many < 0.9 * few


def test_sfda_lowers_entropy_by_its_weights(source_run: Run, image: Path) -> None:
    """The same thirty steps, so the same statistics of batch normalisation but for the weights."""
    slow, fast = (
        adapt(
            source_run,
            image,
            steps=30,
            max_volume_change=0,
            settings={
                "segmentor_optimizer": {"kind": "adam", "lr": lr},
                "prior_weight": 0,
                "entropy_class_weights": "uniform",
            },
        )[0].entropy_after
        for lr in (1e-9, 1e-2)
    )
    assert fast < 0.9 * slow


def test_every_volume_starts_from_the_run(source_run: Run, two_domains: Domains) -> None:
    images = [two_domains[1] / "images" / f"target_{i}.nii.gz" for i in range(2)]
    both = adapt(source_run, images, steps=3, max_volume_change=0)
    alone = [adapt(source_run, one, steps=3, max_volume_change=0)[0] for one in images]
    for found, expected in zip(both, alone, strict=True):
        np.testing.assert_array_equal(found.after.entropy, expected.after.entropy)
    joined = adapt(source_run, images, steps=3, together=True, max_volume_change=0)
    assert [a.after.case for a in joined] == ["target_0", "target_1"]
    assert not np.array_equal(joined[0].after.entropy, alone[0].after.entropy)
    np.testing.assert_array_equal(joined[0].before.entropy, alone[0].before.entropy)


def _watch_loads(monkeypatch: pytest.MonkeyPatch, seen: list[Any]) -> None:
    """Keep hold of every method whose weights are read."""
    load = LoadedRun.load

    def watched(run: Any, device: str = "auto") -> LoadedRun:
        loaded = load(run, device)
        seen.append(loaded.method)
        return loaded

    monkeypatch.setattr(LoadedRun, "load", watched)


def test_bn_adapt_moves_statistics_by_the_share_of_the_volume(
    source_run: Run, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six slices against sixteen of the source; the first layer's statistics by hand."""
    seen = []
    _watch_loads(monkeypatch, seen)
    own = trained_method(source_run)
    seen.clear()
    before = {name: value.clone() for name, value in own.state_dict().items()}
    adapt(source_run, image, method="bn_adapt")
    (adapted,) = seen
    after = adapted.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("running" in name or "num_batches" in name for name in changed)
    assert not any(
        layer.momentum is None for layer in adapted.modules() if isinstance(layer, _BatchNorm)
    )

    convolution, norm = own.segmentor.encoders[0][0], own.segmentor.encoders[0][1]  # type: ignore[index]
    facts = source_run.facts
    store = adapt_module._store(facts, [read_volume(image)])
    with torch.no_grad():
        features = convolution(store.image(np.arange(6)))
    share = 6 / (6 + 16)
    mean = (1 - share) * norm.running_mean + share * features.mean((0, 2, 3))
    name = "segmentor.encoders.0.1.running_mean"
    torch.testing.assert_close(after[name], mean, rtol=1e-4, atol=1e-5)


def test_tent_moves_nothing_but_batch_normalisation(
    source_run: Run, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    _watch_loads(monkeypatch, seen)
    adapt(source_run, image, method="tent", steps=2, max_volume_change=0)
    after = seen[0].state_dict()
    before = trained_method(source_run).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    layers = {
        f"{name}."
        for name, layer in trained_method(source_run).segmentor.named_modules(prefix="segmentor")
        if isinstance(layer, _BatchNorm)
    }
    assert any(name.endswith("weight") for name in changed)
    assert all(any(name.startswith(layer) for layer in layers) for name in changed)


def test_settings_of_sfda_are_taken(source_run: Run, image: Path) -> None:
    def run(**given: Any) -> np.ndarray:
        (found,) = adapt(source_run, image, steps=3, max_volume_change=0, **given)
        return found.after.entropy

    plain = run()
    np.testing.assert_array_equal(plain, run())  # the same every time
    for given in (
        {"settings": {"presence": "all"}},
        {"settings": {"prior_weight": 0}},
        {"sizes_ml": {"inner": 0.1, "outer": 0.1}},
    ):
        assert not np.array_equal(run(**given), plain), given


def test_tags_are_taken_and_stated(
    source_run: Run, image: Path, two_domains: Domains, tmp_path: Path
) -> None:
    folder = DataFolder.open(two_domains[1])
    facts = source_run.facts
    make_weak_labels(folder, facts.labels, facts.grid).write(tmp_path / "tags.json")
    settings = {"presence": "tags", "weak_labels": str(tmp_path / "tags.json")}
    (found,) = adapt(source_run, image, steps=1, settings=settings, max_volume_change=0)
    assert found.target_supervision == "weak: which structures each slice contains"
    found.save(tmp_path / "out")
    report = json.loads((tmp_path / "out" / "target_1_adaptation.json").read_text())
    assert report["target_supervision"] == found.target_supervision
    (plain,) = adapt(source_run, image, steps=1, max_volume_change=0)
    assert plain.target_supervision == "none"


def test_any_orientation_gives_the_same_result(source_run: Run, image: Path) -> None:
    volume = read_volume(image)
    (expected,) = adapt(source_run, volume, steps=2, max_volume_change=0)
    order, flips = all_orientations()[29]
    turned = reoriented(volume, order, flips)
    (found,) = adapt(source_run, turned, steps=2, max_volume_change=0)
    back = reoriented(volume.with_array(expected.after.labels), order, flips)
    np.testing.assert_array_equal(found.after.labels, back.array)


# --- giving up --------------------------------------------------------------------------------------


def test_a_structure_that_moves_too_far_keeps_the_unadapted_result(
    source_run: Run, image: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(volume_change, "SMALL_ML", 1e-3)
    hard = {"segmentor_optimizer": {"kind": "adam", "lr": 0.05}, "entropy_weight": 0}
    given: dict[str, Any] = {"steps": 15, "sizes_ml": {"inner": 1e-3, "outer": 1e-3}}
    (free,) = adapt(source_run, image, settings=hard, max_volume_change=0, **given)
    assert not free.reverted
    (found,) = adapt(source_run, image, settings=hard, max_volume_change=1.5, **given)
    assert found.reverted
    assert "more than 1.5 times" in found.reason
    np.testing.assert_array_equal(found.after.labels, found.before.labels)
    assert found.volumes_ml == free.volumes_ml  # what it would have been is told
    assert found.entropy_after == free.entropy_after
    assert "no change, the unadapted result is kept: " in found.summary()
    assert found.after.model.title == f"{source_run.path.name}, no change by sfda"
    found.save(tmp_path)
    stored = json.loads((tmp_path / "target_1_adaptation.json").read_text())
    assert stored["reverted"] is True
    assert stored["reason"] == found.reason


def test_a_network_that_becomes_no_surer_keeps_the_unadapted_result(
    source_run: Run, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same voxels before and after: a structure that only loses its unsure border is no surer."""
    given: dict[str, Any] = {"method": "tent", "steps": 3, "max_volume_change": 1e6}
    (free,) = adapt(source_run, image, surer_by=0, **given)
    assert not free.reverted
    inside = (free.before.labels > 0) | (free.after.labels > 0)
    means = [float(one.entropy[inside].mean()) for one in (free.before, free.after)]
    assert free.entropy_inside == pytest.approx(means, rel=1e-5)
    assert free.report()["entropy_inside"] == dict(
        zip(("before", "after"), free.entropy_inside, strict=True)
    )
    (found,) = adapt(source_run, image, **given)
    assert found.reverted is (means[1] > 0.9 * means[0])
    for was, now in ((0.4, 0.5), (0.4, 0.4), (0.4, 0.37), (0.4, 0.35)):
        monkeypatch.setattr(adapt_module, "_entropy_inside", lambda *_: (was, now))  # noqa: B023
        (found,) = adapt(source_run, image, **given)
        assert found.reverted is (now > 0.36)
        same = np.array_equal(found.after.entropy, found.before.entropy)
        assert same is found.reverted
        rise = "does not become" if now >= was else "becomes by less than 10%"
        said = f"the network {rise} surer of the structures (entropy inside them {was:.3f} -> {now:.3f})"
        assert found.reason == (said if same else "")
        (kept,) = adapt(source_run, image, **{**given, "max_volume_change": 0})
        assert not kept.reverted  # every result is taken as it is


def test_a_loss_that_is_not_finite_keeps_the_unadapted_result(
    source_run: Run, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tent_module, "minimum_entropy_loss", lambda logits: logits.sum() * math.nan)
    (found,) = adapt(source_run, image, method="tent", steps=2)
    assert found.reverted
    assert "not finite" in found.reason
    assert found.entropy_after == found.entropy_before
    np.testing.assert_array_equal(found.after.labels, found.before.labels)


# --- files ------------------------------------------------------------------------------------------


def test_files_are_named_before_and_after(source_run: Run, image: Path, tmp_path: Path) -> None:
    (found,) = adapt(source_run, image, steps=2, max_volume_change=0)
    files = found.save(tmp_path / "out")
    names = {str(file.relative_to(tmp_path / "out")) for file in files}
    roles = ("labels", "entropy")
    parts = {f"{when}/target_1_{role}.nii.gz" for when in ("before", "after") for role in roles}
    parts |= {f"{when}/target_1.json" for when in ("before", "after")}
    assert names == parts | {"target_1_adaptation.json"}
    assert {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")} == names
    for when in ("before", "after"):
        stored = nib.load(tmp_path / "out" / when / "target_1_labels.nii.gz")
        assert np.array_equal(stored.affine, nib.load(image).affine)
        expected = getattr(found, when).labels
        np.testing.assert_array_equal(np.asarray(stored.dataobj).transpose(), expected)
    report = json.loads((tmp_path / "out" / "target_1_adaptation.json").read_text())
    assert report["run"] == "source"
    assert report["entropy"] == {"before": found.entropy_before, "after": found.entropy_after}
    was, now = found.volumes_ml["outer"]
    assert report["volumes_ml"]["outer"] == {"before": was, "after": now}


def test_summary_is_one_line(source_run: Run, image: Path) -> None:
    (found,) = adapt(source_run, image, method="bn_adapt", max_volume_change=0)
    changed = dataclasses.replace(
        found,
        entropy_before=0.25,
        entropy_after=0.125,
        volumes_ml={"inner": (1.0, 2.25)},
        warning="",
    )
    assert changed.summary() == "target_1: entropy 0.250 -> 0.125, inner 1.0 -> 2.2 mL (+125 %)"
    assert isinstance(found, Adaptation)


# --- progress, cancel, refusals ---------------------------------------------------------------------


def test_progress_counts_slices_and_steps(source_run: Run, two_domains: Domains) -> None:
    images = [two_domains[1] / "images" / f"target_{i}.nii.gz" for i in range(2)]
    seen: list[tuple[int, int]] = []
    adapt(source_run, images, steps=3, on_progress=lambda *parts: seen.append(parts))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert {total for _, total in seen} == {2 * (6 + 3 + 6)}
    assert seen[-1] == (30, 30)


@pytest.mark.parametrize("after", [1, 3, 9])
def test_cancel_ends_it_in_any_part(after: int, source_run: Run, image: Path) -> None:
    """Slices before, steps, slices after."""
    stop = threading.Event()
    seen = []

    def progress(done: int, _: int) -> None:
        seen.append(done)
        if len(seen) == after:
            stop.set()

    with pytest.raises(Cancelled):
        adapt(source_run, image, method="tent", steps=7, on_progress=progress, stop=stop)
    assert len(seen) == after


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"method": "cotta"},
            "cannot adapt by 'cotta'; choose one of bn_adapt, mean_teacher, sfda, tent",
        ),
        (
            {"method": "advent"},
            "cannot adapt by 'advent'; choose one of bn_adapt, mean_teacher, sfda, tent",
        ),
        ({"steps": -1}, "steps must be at least 0, not -1"),
        ({"max_volume_change": 0.5}, "max_volume_change must be a factor above 1"),
        ({"method": "tent", "sizes_ml": {"inner": 1.0}}, r"prior of sizes \(sfda\), not for tent"),
        (
            {"method": "tent", "settings": {"presence": "all"}},
            "there is no setting method.presence",
        ),
        ({"settings": {"presence": "perhaps"}}, "method.presence"),
        ({"stepz": 1}, "there is no setting stepz"),
        ({"config": AdaptConfig(), "steps": 1}, "steps and a config are given"),
        ({"sizes_ml": {"liver": 1.0}}, "for each of inner, outer"),
        (
            {"method": "mean_teacher", "settings": {"source_free": False}},
            "method has settings with which mean_teacher needs source data",
        ),
    ],
)
def test_bad_settings_are_refused(
    given: dict[str, Any], sentence: str, source_run: Run, image: Path
) -> None:
    with pytest.raises(InputError, match=sentence):
        adapt(source_run, image, **given)


def test_no_volume_is_refused(source_run: Run) -> None:
    with pytest.raises(InputError, match="no volume given"):
        adapt(source_run, [])
    with pytest.raises(InputError, match="a ndarray is no image that can be used"):
        adapt(source_run, np.zeros((3, 4, 5)))


@pytest.mark.parametrize("method", METHODS)
def test_a_network_without_batch_normalisation(
    method: Any, two_domains: Domains, image: Path, tmp_path: Path
) -> None:
    config = small_config("source_only", *two_domains, steps=1, segmentor={"norm": "instance"})
    run = Run.create(tmp_path / "run", config)
    for _ in iterate(run):
        pass
    if method in ("sfda", "mean_teacher"):
        assert adapt(run, image, method=method, steps=1, max_volume_change=0)[0].steps == 1
        return
    with pytest.raises(InputError, match=f"{method} changes batch normalisation.*has none"):
        adapt(run, image, method=method)


def test_a_run_without_stored_sizes(source_run: Run, image: Path, tmp_path: Path) -> None:
    shutil.copytree(source_run.path, tmp_path / "old")
    file = tmp_path / "old" / "data.json"
    stored = json.loads(file.read_text())
    del stored["sizes"]
    file.write_text(json.dumps(stored))
    without_checksums(tmp_path / "old")
    with pytest.raises(
        InputError, match=r"does not hold the sizes.*or adapt by bn_adapt, mean_teacher or tent"
    ):
        adapt(tmp_path / "old", image)
    sizes = {"inner": 2.0, "outer": 3.0}
    assert adapt(tmp_path / "old", image, steps=1, sizes_ml=sizes)[0].steps == 1
    assert adapt(tmp_path / "old", image, method="bn_adapt")[0].method == "bn_adapt"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["se_asa", "cyclegan", "attent", "sfda"])
def test_runs_of_other_methods_are_adapted_too(
    name: str, two_domains: Domains, image: Path, tmp_path: Path
) -> None:
    run = Run.create(tmp_path / "run", small_config(name, *two_domains, steps=1))
    for _ in iterate(run):
        pass
    for method in METHODS:
        (found,) = adapt(run, image, method=method, steps=1, max_volume_change=0)
        expected = uda.predict(run, image, reliability=False)
        np.testing.assert_array_equal(found.before.entropy, expected.entropy)
        assert not np.array_equal(found.after.entropy, found.before.entropy)


# --- AdaptConfig ------------------------------------------------------------------------------------


def test_a_method_that_learns_its_own_labels_has_to_be_much_surer() -> None:
    shares = {name: build_adapt_config(name).surer_by for name in source_free_methods()}
    assert shares == {"bn_adapt": 0.1, "mean_teacher": 0.5, "sfda": 0.1, "tent": 0.1}
    assert AdaptConfig(method="mean_teacher").surer_by == 0.5  # type: ignore[arg-type]
    assert build_adapt_config("mean_teacher", surer_by=0.2).surer_by == 0.2
    with pytest.raises(InputError, match="adapt: method: cannot adapt by 'nothing'"):
        build_adapt_config({"name": "nothing"})


def test_every_method_has_its_own_settings_for_a_volume() -> None:
    assert build_adapt_config() == AdaptConfig()
    assert isinstance(AdaptConfig().method, SFDAConfig)
    steps = {name: build_adapt_config(name).training_steps for name in ("sfda", "bn_adapt", "tent")}
    assert steps == {"sfda": 30, "bn_adapt": 0, "tent": 10}
    assert build_adapt_config("bn-adapt", steps=7).training_steps == 0
    assert build_adapt_config("tent", steps=7).training_steps == 7
    method = build_adapt_config("sfda", settings={"segmentor_optimizer": {"momentum": 0.5}}).method
    rate = method.segmentor_optimizer
    assert (rate.lr, rate.momentum, rate.weight_decay) == (2e-4, 0.5, 0.0)
    assert method.ratio == "argmax"  # type: ignore[attr-defined]
    assert SFDAConfig().ratio == "mean"  # a long training is another thing


def test_a_method_may_be_a_name_a_mapping_or_its_settings() -> None:
    given = {"segmentor_optimizer": {"lr": 0.01}}
    expected = build_adapt_config("tent", settings=given)
    assert expected.method.segmentor_optimizer.lr == 0.01
    assert build_adapt_config({"name": "tent", **given}) == expected
    assert AdaptConfig(method={"name": "tent", **given}) == expected  # type: ignore[arg-type]
    assert AdaptConfig(method=expected.method) == expected
    assert isinstance(expected.method, TentConfig)
    assert AdaptConfig.model_validate(expected.model_dump()) == expected


def test_sizes_take_the_place_of_those_of_the_run() -> None:
    config = build_adapt_config(sizes_ml={"inner": 2.0})
    assert config.method.prior_sizes == "source"  # type: ignore[attr-defined]
    used = config.method_with_sizes
    assert isinstance(used, SFDAConfig)
    assert (used.prior_sizes, used.given_sizes) == ("millilitres", {"inner": 2.0})
    assert used.ratio == "argmax"


@pytest.mark.parametrize("name", METHODS)
def test_config_and_keywords_do_the_same(name: str, source_run: Run, image: Path) -> None:
    config = build_adapt_config(name, steps=2, max_volume_change=0)
    (first,) = adapt(source_run, image, config)
    (second,) = adapt(source_run, image, method=name, steps=2, max_volume_change=0)
    np.testing.assert_array_equal(first.after.entropy, second.after.entropy)


def test_a_source_free_method_from_elsewhere_adapts_as_well(
    source_run: Run, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It declares nothing for a volume, so it takes as many steps as any method."""

    class EntropyOnlyConfig(SFDAConfig):
        name: Any = "entropy_only"
        prior_weight: float = 0.0

    class EntropyOnly(SFDA):
        config_class = EntropyOnlyConfig
        for_a_volume = {}

    found = {**ALL_METHODS, "entropy_only": EntropyOnly}
    monkeypatch.setattr(ALL_METHODS, "_found", found)
    assert "entropy_only" in source_free_methods()
    assert build_adapt_config("entropy_only").training_steps == STEPS
    (result,) = adapt(source_run, image, method="entropy_only", steps=2, max_volume_change=0)
    assert (result.method, result.steps) == ("entropy_only", 2)
    assert not np.array_equal(result.after.entropy, result.before.entropy)
