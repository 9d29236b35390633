"""sfda: what it expects of each slice, its loss by hand, and adaptation from a run folder alone."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_cases import CPU, Bench, bench
from tiny_cases import (
    LABELS,
    assert_same_tensors,
    changed,
    metric_lines,
    small_config,
    snapshot,
    trained_method,
    without_checksums,
)
from torch.nn.modules.batchnorm import _BatchNorm

import napari_uda as uda
from napari_uda.api import iterate
from napari_uda.core.errors import InputError
from napari_uda.data.folder import DataFolder
from napari_uda.data.weak_labels import WeakLabels, make_weak_labels
from napari_uda.losses.prior import predicted_log_ratio, size_weights
from napari_uda.methods.sfda import SFDA
from napari_uda.networks.segmentor import SegmentorOutput
from napari_uda.run import checkpoint
from napari_uda.run.recipes import build_config
from napari_uda.run.run import Run
from napari_uda.training.loop import train_run

Domains = tuple[Path, Path]
PIXELS = 32 * 32


def _stand(domains: Domains, cache: Path, **method: Any) -> Bench:
    """A bench whose slices have their priors."""
    stand = bench("sfda", domains, cache, method=method)
    stand.method.before_step(stand.data, stand.runtime)
    stand.runtime.step = 1  # step 0 would look at the slices again
    return stand


def _areas(stand: Bench) -> np.ndarray:
    """Expected pixels `(N, K)` of the structures."""
    expected: torch.Tensor = stand.method.expected  # type: ignore[assignment]
    torch.testing.assert_close(expected.sum(1), torch.ones(len(expected)))
    return expected[:, 1:].numpy() * PIXELS


def _weak(folder: Path, stand: Bench, path: Path, kind: Any = "tags") -> WeakLabels:
    weak = make_weak_labels(DataFolder.open(folder), LABELS, stand.data.facts.grid, kind)
    weak.write(path)
    return weak


def _shares(stand: Bench) -> tuple[list[float], list[float]]:
    """Pixels where present and share of slices of the source run."""
    facts = stand.data.facts
    sizes = [facts.sizes[name] for name in LABELS]
    return [s.area_mm2 / facts.grid.pixel_mm**2 for s in sizes], [s.slice_share for s in sizes]


# --- the expected ratios ----------------------------------------------------------------------------


def test_cohort_expects_the_source_runs_mean_area(two_domains: Domains, tmp_path: Path) -> None:
    stand = _stand(two_domains, tmp_path, size_factor=1.5)
    pixels, shares = _shares(stand)
    areas = _areas(stand)
    assert areas.shape == (18, 2)  # three cases of six slices
    np.testing.assert_allclose(
        areas, np.tile(np.multiply(pixels, shares) * 1.5, (18, 1)), rtol=1e-4
    )
    assert stand.method.trusted.tolist() == [1.0] * 18


def test_all_expects_every_structure_in_every_slice(two_domains: Domains, tmp_path: Path) -> None:
    stand = _stand(two_domains, tmp_path, presence="all")
    np.testing.assert_allclose(_areas(stand), np.tile(_shares(stand)[0], (18, 1)), rtol=1e-4)


def test_tags_switch_structures_on_and_off(two_domains: Domains, tmp_path: Path) -> None:
    first = bench("sfda", two_domains, tmp_path)
    weak = _weak(two_domains[1], first, tmp_path / "tags.json")
    stand = _stand(two_domains, tmp_path, presence="tags", weak_labels=str(tmp_path / "tags.json"))
    tags = np.concatenate([np.array(weak.cases[f"target_{i}"]) for i in range(3)])
    assert 0 < tags.mean() <= 1
    np.testing.assert_allclose(_areas(stand), tags * _shares(stand)[0], rtol=1e-4)
    assert "weak" in stand.data.facts.target_supervision


def test_true_sizes_are_those_of_the_file(two_domains: Domains, tmp_path: Path) -> None:
    first = bench("sfda", two_domains, tmp_path)
    file = tmp_path / "areas.json"
    weak = _weak(two_domains[1], first, file, "areas")
    stand = _stand(two_domains, tmp_path, prior_sizes="true", weak_labels=str(file))
    truth = np.concatenate([np.array(weak.cases[f"target_{i}"]) for i in range(3)])
    pixel_mm = stand.data.facts.grid.pixel_mm
    np.testing.assert_allclose(_areas(stand), truth / pixel_mm**2, rtol=1e-4, atol=1e-4)
    assert stand.data.facts.target_supervision.startswith("oracle")
    _weak(two_domains[1], first, file)
    with pytest.raises(InputError, match=r"holds tags, and true sizes need areas"):
        _stand(two_domains, tmp_path, prior_sizes="true", weak_labels=str(file))


def test_pixels_and_millilitres_given_by_the_user(two_domains: Domains, tmp_path: Path) -> None:
    given = {"inner": 60.0, "outer": 90.0}
    pixels = _stand(two_domains, tmp_path, prior_sizes="pixels", given_sizes=given, presence="all")
    np.testing.assert_allclose(_areas(pixels), np.tile([60, 90], (18, 1)), rtol=1e-4)
    # 6 slices of 4 mm: 1 mL is 1000 mm3 over 24 mm, on pixels of 1.88 mm
    ml = {"inner": 2.0, "outer": 3.0}
    for presence in ("all", "cohort"):
        spread = _stand(
            two_domains, tmp_path, prior_sizes="millilitres", given_sizes=ml, presence=presence
        )
        expected = np.array([2000, 3000]) / 24 / 1.88**2
        np.testing.assert_allclose(_areas(spread), np.tile(expected, (18, 1)), rtol=1e-4)


def test_millilitres_spread_over_the_tagged_slices(two_domains: Domains, tmp_path: Path) -> None:
    rows = ((0, 1), (1, 1), (0, 1), (0, 1), (0, 1), (0, 0))  # the inner one in a single slice
    WeakLabels(
        kind="tags",
        axis=0,
        structures=("inner", "outer"),
        cases={f"target_{i}": rows for i in range(3)},
    ).write(tmp_path / "tags.json")
    stand = _stand(
        two_domains,
        tmp_path,
        prior_sizes="millilitres",
        given_sizes={"inner": 2.0, "outer": 3.0},
        presence="tags",
        weak_labels=str(tmp_path / "tags.json"),
    )
    areas = _areas(stand).reshape(3, 6, 2)
    volume_ml = areas.sum(1) * 1.88**2 * 4 / 1000
    np.testing.assert_allclose(volume_ml, np.tile([2.0, 3.0], (3, 1)), rtol=1e-4)
    assert areas[0, 1, 0] == pytest.approx(2000 / 4 / 1.88**2, rel=1e-4)
    assert areas[0, 1, 1] == pytest.approx(600 / 4 / 1.88**2, rel=1e-4)
    assert (areas[:, 5] == 0).all()


class _Proposing(torch.nn.Module):
    """Stands in for a segmentor: how many pixels of class 1 and 2 it paints in a slice."""

    def __init__(self, painted: list[tuple[int, int]]) -> None:
        super().__init__()
        self.painted, self.asked = painted, 0

    def forward(self, image: torch.Tensor) -> Any:
        logits = torch.zeros(len(image), 3, 32 * 32)
        for row in logits:
            first, second = self.painted[self.asked]
            row[1, :first] = 9
            row[2, first : first + second] = 9
            self.asked += 1
        return type("Output", (), {"logits": logits.view(-1, 3, 32, 32)})


@pytest.mark.parametrize("presence", ["proposals", "select"])
def test_what_the_source_model_proposes(
    presence: str, two_domains: Domains, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "prior_sizes": "pixels",
        "given_sizes": {"inner": 40.0, "outer": 80.0},
        "presence": presence,
        "select_divisor": 2.0,
        "select_share": 1.0,
        "select_negatives": 1.0,
    }
    stand = bench("sfda", two_domains, tmp_path, method=settings)
    # found are more than 20 and 40 pixels; the slices after these are empty
    stand.method.segmentor = _Proposing([(21, 41), (21, 40), (20, 41)] + [(0, 0)] * 15)  # type: ignore[assignment]
    stand.method.before_step(stand.data, stand.runtime)
    areas, trusted = _areas(stand), stand.method.trusted.tolist()
    if presence == "proposals":
        np.testing.assert_allclose(areas[:3], [[40, 80], [40, 0], [0, 80]], rtol=1e-4)
        assert trusted == [1.0] * 18
    else:
        np.testing.assert_allclose(areas[0], [40, 80], rtol=1e-4)
        assert trusted == [1.0, 0.0, 0.0] + [1.0] * 15
    assert (areas[3:] == 0).all()


def test_select_takes_some_of_the_empty_slices(two_domains: Domains, tmp_path: Path) -> None:
    stand = bench("sfda", two_domains, tmp_path, method={"presence": "select"})
    stand.method.segmentor = _Proposing([(0, 0)] * 18)  # type: ignore[assignment]
    stand.method.before_step(stand.data, stand.runtime)
    assert 3 < stand.method.trusted.sum() < 15


def test_entropy_weights_follow_the_sizes(two_domains: Domains, tmp_path: Path) -> None:
    stand = _stand(two_domains, tmp_path)
    pixels, shares = _shares(stand)
    background = PIXELS - float(np.multiply(pixels, shares).sum())
    expected = size_weights([background, *pixels])
    torch.testing.assert_close(stand.method.class_weights, expected, rtol=1e-4, atol=1e-6)
    given = {"background": 0.1, "outer": 0.6, "inner": 0.3}
    other = _stand(two_domains, tmp_path, entropy_class_weights="given", given_class_weights=given)
    assert other.method.class_weights.tolist() == pytest.approx([0.1, 0.3, 0.6])
    even = _stand(two_domains, tmp_path, entropy_class_weights="uniform")
    assert even.method.class_weights.tolist() == pytest.approx([1 / 3] * 3)


# --- the step ---------------------------------------------------------------------------------------


def _logits(stand: Bench) -> tuple[torch.Tensor, Any]:
    """Logits of the next step's batch, in training mode, and which slices it holds."""
    batch = stand.data.batch(stand.runtime.step, CPU)
    before = snapshot(stand.method)
    with torch.no_grad():
        logits = stand.method.segmentor(batch.unlabelled().image).logits
    stand.method.load_state_dict(before)
    return logits, batch.unlabelled().index


def test_the_loss_by_hand(two_domains: Domains, tmp_path: Path) -> None:
    """From plain probabilities and logarithms."""
    stand = _stand(two_domains, tmp_path, presence="all", aux_weight=0, prior_weight=0.7)
    logits, index = _logits(stand)
    p, nu = logits.softmax(1), stand.method.class_weights
    entropy = -(nu.view(1, -1, 1, 1) * p * p.log()).sum(1).mean()
    ratio, expected = p.mean((2, 3)), stand.method.expected[index]
    divergence = (ratio * (ratio / expected).log()).sum(1).mean()
    logs = stand.step()
    assert float(logs["entropy"]) == pytest.approx(float(entropy), rel=1e-4)
    assert float(logs["prior"]) == pytest.approx(0.7 * float(divergence), rel=1e-4)


def test_cohort_compares_the_mean_over_the_batch(two_domains: Domains, tmp_path: Path) -> None:
    stand = _stand(two_domains, tmp_path, aux_weight=0, divergence="adaent", ratio="maxnorm")
    logits, index = _logits(stand)
    ratio = predicted_log_ratio(logits, "maxnorm").exp().mean(0)
    expected = stand.method.expected[index].mean(0)
    logs = stand.step()
    assert float(logs["prior"]) == pytest.approx(-float((expected * ratio.log()).sum()), rel=1e-4)


def test_slices_without_a_prior_count_for_entropy_alone(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = _stand(two_domains, tmp_path, presence="all", aux_weight=0)
    logits, index = _logits(stand)
    stand.method.trusted[index[0]] = 0  # type: ignore[index]
    ratio, expected = logits.softmax(1).mean((2, 3))[1], stand.method.expected[index[1]]
    logs = stand.step()
    # of a batch of two slices one is left, and the sum is divided by two all the same
    alone = float((ratio * (ratio / expected).log()).sum())
    assert float(logs["prior"]) == pytest.approx(alone / 2, rel=1e-4)


def test_the_prior_moves_the_predicted_ratio_to_the_expected_one(
    two_domains: Domains, tmp_path: Path
) -> None:
    settings = {"segmentor_optimizer": {"lr": 3e-2}, "entropy_weight": 0, "presence": "all"}
    stand = _stand(two_domains, tmp_path, **settings)
    expected = stand.method.expected[0]
    for _ in range(40):
        logs = stand.step()
    assert set(logs) == {"prior"}
    ratio = _logits(stand)[0].softmax(1).mean((0, 2, 3))
    torch.testing.assert_close(ratio, expected, atol=0.08, rtol=0)


def test_entropy_alone_sharpens(two_domains: Domains, tmp_path: Path) -> None:
    settings = {"segmentor_optimizer": {"lr": 1e-2}, "prior_weight": 0}
    stand = _stand(two_domains, tmp_path, entropy_class_weights="uniform", **settings)
    first, *_, last = [float(stand.step()["entropy"]) for _ in range(15)]
    assert last < 0.5 * first < math.log(3) / 3


def test_what_guards_it_by_hand(
    two_domains: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes as inequalities, entropy of reliable pixels, an anchor: each leaves a network alone that needs nothing."""
    settings = {"aux_weight": 0, "batch_norm": "frozen", "presence": "all", "anchor_weight": 0.5}
    guards = {"entropy_on": "reliable", "size_tolerance": 2.0}
    stand = _stand(two_domains, tmp_path, **settings, **guards)
    method = stand.method
    with torch.no_grad():  # expected is what it predicts, but for a factor within the tolerance
        method.eval()
        logits = torch.cat(
            [method.predict(stand.data.target.image(np.array([i]))) for i in range(18)]
        )
        method.train()
    ratio = logits.softmax(1).mean((2, 3))
    method.expected = ratio * torch.tensor([1.0, 1.5, 1 / 1.5])
    monkeypatch.setattr(
        SFDA, "_reliable", lambda _, image, __: torch.zeros_like(image[:, 0], dtype=torch.bool)
    )
    before, drawn = snapshot(method), stand.data.batch(1, CPU).unlabelled().index
    logs = stand.step()
    assert float(logs["entropy"]) == float(logs["prior"]) == 0.0
    p = logits.softmax(1)
    entropy = -(p * p.log()).sum(1)[drawn].mean()  # a cross-entropy with itself
    assert float(logs["anchor"]) == pytest.approx(0.5 * float(entropy), rel=1e-4)
    gradients = [q.grad for q in method.segmentor.parameters() if q.grad is not None]
    assert max(float(g.abs().max()) for g in gradients) < 1e-6
    moved = changed(before, method)
    assert not [name for name in moved if name.startswith("start.")]

    # sizes beyond the factor pull, and all pixels give the whole entropy
    method.load_state_dict(before)
    method.expected = ratio * torch.tensor([1.0, 2.5, 1.0])
    monkeypatch.setattr(
        SFDA, "_reliable", lambda _, image, __: torch.ones_like(image[:, 0], dtype=torch.bool)
    )
    stand.runtime.step = 1
    logs = stand.step()
    assert float(logs["prior"]) > 0
    whole = _stand(two_domains, tmp_path, **settings)
    whole.method.load_state_dict(before)
    assert float(whole.step()["entropy"]) == pytest.approx(float(logs["entropy"]), rel=1e-5)


def test_reliable_is_where_most_views_agree(two_domains: Domains, tmp_path: Path) -> None:
    stand = _stand(two_domains, tmp_path, reliability={"jitter": 0, "blur_probability": 0})
    image = stand.data.target.image(np.arange(2))
    assert stand.method._reliable(image, stand.runtime).all()  # the views are the slice itself
    changing = _stand(two_domains, tmp_path)
    # the two slices, and three views of both: of the first slice one agrees, of the second two
    calls = iter([[0, 0], [0, 0, 1, 0, 1, 1]])

    def predicted(seen: torch.Tensor) -> SegmentorOutput:
        classes = torch.tensor(next(calls))[:, None, None].expand_as(seen[:, 0])
        return SegmentorOutput(
            torch.nn.functional.one_hot(classes, 3).permute(0, 3, 1, 2), None, seen
        )

    changing.method.segmentor.forward = predicted  # type: ignore[method-assign]
    reliable = changing.method._reliable(image, changing.runtime)
    assert reliable[:, 0, 0].tolist() == [False, True]
    assert not reliable[0].any()
    assert reliable[1].all()


def test_blended_statistics_are_those_of_bn_adapt(two_domains: Domains, tmp_path: Path) -> None:
    found = {}
    for name, own in (("sfda", {"batch_norm": "blended"}), ("bn_adapt", {})):
        stand = bench(name, two_domains, tmp_path, method={**own, "source_slices": 5})
        stand.method.before_step(stand.data, stand.runtime)
        found[name] = snapshot(stand.method.segmentor)
    assert_same_tensors(found["sfda"], found["bn_adapt"])


def test_tag_of_an_absent_class_gives_a_finite_step(two_domains: Domains, tmp_path: Path) -> None:
    stand = _stand(two_domains, tmp_path, presence="all")
    stand.method.expected[:, 1:] = 0
    stand.method.expected[:, 0] = 1
    logs = stand.step()
    assert torch.isfinite(logs["prior"])
    assert 1 < logs["prior"] < 1.1 * -math.log(1e-10)
    assert all(torch.isfinite(p).all() for p in stand.method.parameters())


@pytest.mark.parametrize("mode", ["adapt", "frozen", "blended", "batch"])
def test_batch_norm_choices(mode: str, two_domains: Domains, tmp_path: Path) -> None:
    stand = _stand(two_domains, tmp_path, batch_norm=mode)
    before = snapshot(stand.method)
    stand.step()
    moved = {name for name in changed(before, stand.method) if "running" in name}
    assert bool(moved) == (mode in ("adapt", "batch"))  # blended ones moved before the first step
    layers = [m for m in stand.method.modules() if isinstance(m, _BatchNorm)]
    assert all(layer.training and layer.track_running_stats for layer in layers)
    stand.method.eval()
    torch.manual_seed(0)
    images = torch.rand(4, 1, 32, 32)
    images[2:] *= 3
    before = snapshot(stand.method)
    with torch.no_grad():
        together = stand.method.predict(images)[:2]
        alone = stand.method.predict(images[:2])
    same = torch.allclose(together, alone, atol=1e-5)
    assert same == (mode != "batch")  # statistics of the predicted batch, or not
    assert not changed(before, stand.method)
    assert not any(layer.training for layer in layers)


# --- settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ({"entropy_weight": 0, "prior_weight": 0}, "both 0, so nothing is learnt"),
        ({"presence": "tags"}, "read from weak_labels"),
        ({"prior_sizes": "true"}, "read from weak_labels"),
        ({"prior_sizes": "pixels"}, "prior_sizes pixels needs given_sizes"),
        ({"entropy_class_weights": "given"}, "needs given_class_weights"),
        ({"ratio_floor": 0}, "ratio_floor"),
    ],
)
def test_settings_that_cannot_be_are_refused(method: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        build_config("sfda", method=method)


def test_sizes_of_other_structures_are_refused(two_domains: Domains, tmp_path: Path) -> None:
    told = {
        "outer has none yet": {"inner": 4.0},
        "liver is none of them, so leave it out": {"inner": 4.0, "outer": 5.0, "liver": 6.0},
        "inner has -4": {"inner": -4.0, "outer": 5.0},
    }
    for sentence, given in told.items():
        with pytest.raises(InputError, match=f"for each of inner, outer; {sentence}$"):
            _stand(two_domains, tmp_path, prior_sizes="pixels", given_sizes=given)


def test_what_it_was_told_of_the_target_is_stated() -> None:
    told = {
        "none": {"presence": "select"},
        "weak: which structures each slice contains": {"presence": "tags", "weak_labels": "a"},
        "oracle: true area of each structure in each slice": {
            "prior_sizes": "true",
            "weak_labels": "a",
        },
    }
    for expected, method in told.items():
        assert build_config("sfda", method=method).method.target_supervision == expected
    config = build_config("sfda", method={"presence": "tags", "prior_weight": 0})
    assert config.method.target_supervision == "none"  # the file is not even read


# --- runs -------------------------------------------------------------------------------------------


def _source_run(domains: Domains, folder: Path) -> Run:
    run = Run.create(folder, small_config("source_only", *domains, steps=3))
    for _ in iterate(run):
        pass
    return run


def test_without_a_run_to_start_from_it_is_refused(two_domains: Domains, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sfda starts from a trained run; give it one with --init"):
        uda.train("sfda", target=two_domains[1], run_dir=tmp_path / "run", data={"size": 32})
    assert not (tmp_path / "run").exists()


def test_it_adapts_from_a_run_folder_with_no_source_on_the_disk(
    two_domains: Domains, tmp_path: Path
) -> None:
    """The source folder and the target's labels are deleted before adaptation begins."""
    source, target = tmp_path / "source", tmp_path / "target"
    shutil.copytree(two_domains[0], source)
    shutil.copytree(two_domains[1], target)
    first = _source_run((source, target), tmp_path / "first")
    shutil.rmtree(source)
    shutil.rmtree(target / "labels")
    moved = tmp_path / "elsewhere"
    shutil.move(first.path, moved)
    config = small_config("sfda", source, target, steps=3, init=str(moved), data={"source": None})
    assert config.data.source is None
    run = Run.create(tmp_path / "run", config)
    for _ in iterate(run):
        pass
    assert [set(line) for line in metric_lines(run)] == [{"step", "entropy", "prior"}] * 3
    assert run.facts.source is None
    assert run.facts.sizes == Run.open(moved).facts.sizes
    assert run.facts.target_supervision == "none"
    given, taken = (
        checkpoint.load_weights(r.checkpoints / checkpoint.WEIGHTS) for r in (Run.open(moved), run)
    )
    name = "segmentor.head.weight"
    assert torch.allclose(given[name], taken[name], atol=0.02)  # three steps of 1e-3 from there
    assert not torch.equal(given[name], taken[name])
    prediction = uda.predict(run, target / "images" / "target_0.nii.gz", reliability=False)
    assert prediction.labels.shape == (6, 40, 40)


def test_it_is_resumed_without_the_run_it_came_from_and_without_the_tags(
    two_domains: Domains, tmp_path: Path
) -> None:
    first = _source_run(two_domains, tmp_path / "first")
    tags = tmp_path / "tags.json"
    make_weak_labels(DataFolder.open(two_domains[1]), LABELS, first.facts.grid).write(tags)
    config = small_config(
        "sfda",
        *two_domains,
        steps=4,
        init=str(first.path),
        save_every=2,
        method={"presence": "tags", "weak_labels": str(tags)},
    )
    whole, parts = (Run.create(tmp_path / name, config) for name in ("whole", "parts"))
    for _ in train_run(whole):
        pass
    for progress in train_run(parts):
        if progress.step == 3:
            break  # as a kill would: the checkpoint is that of step 2
    shutil.rmtree(first.path)
    tags.unlink()
    for _ in train_run(Run.open(parts.path)):
        pass
    for file in (checkpoint.WEIGHTS, checkpoint.STATE):
        assert_same_tensors(
            *(checkpoint.load_weights(r.checkpoints / file) for r in (whole, parts))
        )
    assert isinstance(trained_method(parts), SFDA)


def test_weak_labels_are_named_by_an_absolute_path(
    two_domains: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = small_config(
        "sfda",
        *two_domains,
        init="first",
        method={"presence": "tags", "weak_labels": "tags.json"},
    )
    run = Run.create(tmp_path / "run", config)
    assert run.config.method.weak_labels == tmp_path / "tags.json"  # type: ignore[attr-defined]
    assert Run.open(run.path).config == run.config


def test_a_source_run_without_stored_sizes_is_refused_with_the_remedy(
    two_domains: Domains, tmp_path: Path
) -> None:
    first = _source_run(two_domains, tmp_path / "first")
    file = first.path / "data.json"
    stored = json.loads(file.read_text())
    del stored["sizes"]
    file.write_text(json.dumps(stored))
    without_checksums(first.path)

    def train(name: str, **method: Any) -> None:
        config = small_config("sfda", *two_domains, steps=1, init=str(first.path), method=method)
        for _ in iterate(Run.create(tmp_path / name, config)):
            pass

    with pytest.raises(InputError, match=r"sizes of its structures.*millilitres"):
        train("a")
    given = {"inner": 20.0, "outer": 30.0}
    train("b", prior_sizes="pixels", given_sizes=given)
    train("c", prior_weight=0, entropy_class_weights="uniform")
