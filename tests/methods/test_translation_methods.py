"""What is particular to cyclegan and attent."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from method_cases import CPU, bench
from tiny_cases import (
    assert_same_tensors,
    changed,
    events,
    metric_lines,
    small_config,
    snapshot,
    trained_method,
    weights_of,
)
from torch import Tensor

from napari_uda.api import iterate
from napari_uda.core.errors import InputError
from napari_uda.run import checkpoint
from napari_uda.run.run import Run

Domains = tuple[Path, Path]


def _train(folder: Path, name: str, domains: Domains, **settings: Any) -> Run:
    run = Run.create(folder, small_config(name, *domains, **settings))
    for _ in iterate(run):
        pass
    return run


def _seen(stand: Any) -> list[Tensor]:
    """Images that the segmentor is given, in order."""
    seen: list[Tensor] = []
    stand.method.segmentor.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    return seen


# --- cyclegan -------------------------------------------------------------------------------------


@pytest.mark.parametrize("neighbours", [1, 3])
@pytest.mark.parametrize("use", ["translated_source", "translated_target"])
def test_the_two_uses_of_cyclegan(
    use: str, neighbours: int, two_domains: Domains, tmp_path: Path
) -> None:
    stand = bench(
        "cyclegan",
        two_domains,
        tmp_path,
        data={"neighbours": neighbours},
        method={"segment": use, "translator": {"structure_every": 0}},
    )
    source = stand.data.batch(0, CPU).labelled().image
    target = stand.data.batch(0, CPU).unlabelled().image
    translator = stand.method.translator
    with torch.no_grad():
        in_target_style = translator.translate(source, "source_to_target")
    seen = _seen(stand)
    stand.step()
    (trained_on,) = seen
    expected = in_target_style if use == "translated_source" else source
    torch.testing.assert_close(trained_on, expected)
    assert not trained_on.requires_grad  # the segmentor's loss does not reach the generators

    stand.method.eval()
    with torch.no_grad():
        in_source_style = translator.translate(target, "target_to_source")
        logits = stand.method.predict(target)
        expected = in_source_style if use == "translated_target" else target
        torch.testing.assert_close(seen[-1], expected)
        torch.testing.assert_close(logits, stand.method.segmentor(expected).logits)


@pytest.mark.parametrize(
    ("name", "settings", "translated"),
    [
        ("cyclegan", {"segment": "translated_source"}, True),
        ("cyclegan", {"segment": "translated_target"}, False),
        ("attent", {}, False),
    ],
)
def test_source_slices_are_watched_in_the_look_the_segmentor_learns(
    name: str, settings: dict[str, Any], translated: bool, two_domains: Domains, tmp_path: Path
) -> None:
    stand = bench(name, two_domains, tmp_path, method=settings)
    stand.method.eval()
    image = torch.rand(2, 1, 32, 32)
    seen = _seen(stand)
    with torch.no_grad():
        stand.method.predict_labelled(image)
        translate = stand.method.translator.translate
        expected = translate(image, "source_to_target") if translated else image
        torch.testing.assert_close(seen[0], expected)
        # the structure check looks at the reconstruction in the same look
        source = stand.data.batch(0, CPU).labelled().image
        back = translate(translate(source, "source_to_target"), "target_to_source")
        expected = translate(back, "source_to_target") if translated else back
    stand.method.train()
    stand.step()
    torch.testing.assert_close(seen[1], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["cyclegan", "attent"])
def test_structure_checks_change_nothing(name: str, two_domains: Domains, tmp_path: Path) -> None:
    logs, states = [], []
    for every in (0, 1):
        settings = {"translator": {"structure_every": every}}
        stand = bench(name, two_domains, tmp_path, method=settings)
        for _ in range(2):
            logs.append(stand.step())
        states.append(snapshot(stand.method))
    assert_same_tensors(*states)
    assert "structure_dice" not in logs[1]
    assert 0 <= float(logs[3].pop("structure_dice")) <= 1
    assert logs[1] == logs[3]


CHANGED = {"intensity": "gamma", "structures": {"share": 1.0}}


def test_two_looks_are_learnt_from_in_one_batch(two_domains: Domains, tmp_path: Path) -> None:
    settings = {"segment": "real_and_translated_source", "translator": {"structure_every": 0}}
    stand = bench("cyclegan", two_domains, tmp_path, augment=CHANGED, method=settings)
    source = stand.data.batch(0, CPU).labelled()
    with torch.no_grad():
        translated = stand.method.translator.translate(source.plain, "source_to_target")
    seen = _seen(stand)
    stand.step()
    (trained_on,) = seen
    count = len(source.image)
    assert not torch.equal(source.image, source.plain)
    assert torch.equal(trained_on[:count], source.image)  # real ones with the random changes
    torch.testing.assert_close(trained_on[count:], translated)  # the others without
    assert not trained_on.requires_grad

    # target slices, and source slices that are watched, are segmented as they are
    stand.method.eval()
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        for predict in (stand.method.predict, stand.method.predict_labelled):
            torch.testing.assert_close(predict(image), stand.method.segmentor(image).logits)


@pytest.mark.parametrize(
    ("name", "settings", "plain"),
    [
        ("cyclegan", {"segment": "real_and_translated_source"}, True),
        ("attent", {"joint": False, "translation_steps": 1}, True),
        ("cyclegan", {"segment": "translated_source"}, False),
    ],
)
def test_which_source_slices_generators_learn_from(
    name: str, settings: dict[str, Any], plain: bool, two_domains: Domains, tmp_path: Path
) -> None:
    stand = bench(name, two_domains, tmp_path, augment=CHANGED, method=settings)
    source = stand.data.batch(0, CPU).labelled()
    given: list[Tensor] = []
    generator = stand.method.translator.generators["source_to_target"]
    generator.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    stand.step()
    wanted = source.plain if plain else source.image
    assert any(image.shape == wanted.shape and torch.equal(image, wanted) for image in given)
    other = source.image if plain else source.plain
    assert not any(image.shape == other.shape and torch.equal(image, other) for image in given)


def test_running_statistics_are_those_of_what_the_segmentor_is_for(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = bench("cyclegan", two_domains, tmp_path, method={"segment": "translated_target"})
    alone = bench("source_only", two_domains, tmp_path)
    for _ in range(2):
        stand.step()
        alone.step()
    assert_same_tensors(
        {k: v for k, v in snapshot(stand.method).items() if k.startswith("segmentor.")},
        {k: v for k, v in snapshot(alone.method).items() if k.startswith("segmentor.")},
    )


# --- attent ---------------------------------------------------------------------------------------


def test_stage_a_and_then_stage_b(two_domains: Domains, tmp_path: Path) -> None:
    stand = bench("attent", two_domains, tmp_path, method={"joint": False, "translation_steps": 1})
    target = stand.data.batch(1, CPU).unlabelled().image
    before = snapshot(stand.method)
    logs = stand.step()
    assert logs.keys() == {
        *("structure_dice", "segmentation", "translation", "cycle", "identity"),
        *("discriminator_source", "discriminator_target"),
    }
    moved = changed(before, stand.method)
    assert not any(name.startswith("adversary.") for name in moved)
    assert any(name.startswith("translator.generators.") for name in moved)

    with torch.no_grad():
        translated = stand.method.translator.translate(target, "target_to_source")
    seen = _seen(stand)
    before = snapshot(stand.method)
    logs = stand.step()
    assert logs.keys() == {
        *("structure_dice", "segmentation", "adversarial_main", "adversarial_aux"),
        *("discriminator_main", "discriminator_aux"),
    }
    moved = changed(before, stand.method)
    assert not any(name.startswith("translator.") for name in moved)  # frozen, the pools too
    assert any(name.startswith("adversary.") for name in moved)
    torch.testing.assert_close(seen[-1], translated)
    assert not seen[-1].requires_grad
    assert stand.method.translator.trained_steps == 1


def test_predict_translates_by_itself(two_domains: Domains, tmp_path: Path) -> None:
    stand = bench("attent", two_domains, tmp_path)
    stand.method.eval()
    image = torch.rand(2, 1, 32, 32)
    seen = _seen(stand)
    with torch.no_grad():
        logits = stand.method.predict(image)
        translated = stand.method.translator.translate(image, "target_to_source")
        torch.testing.assert_close(logits, stand.method.segmentor(translated).logits)
    torch.testing.assert_close(seen[0], translated)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
def test_a_prediction_may_be_the_mean_of_both_views(
    share: float, two_domains: Domains, tmp_path: Path
) -> None:
    stand = bench("attent", two_domains, tmp_path, method={"plain_view": share})
    stand.method.eval()
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        plain = stand.method.segmentor(image).logits.softmax(1)
        seen = stand.method.translator.translate(image, "target_to_source")
        translated = stand.method.segmentor(seen).logits
        predicted = stand.method.predict(image)
    wanted = (1 - share) * translated.softmax(1) + share * plain
    torch.testing.assert_close(predicted.softmax(1), wanted)
    if not share:
        assert torch.equal(predicted, translated)


def test_generators_are_gated_unless_told_otherwise(two_domains: Domains, tmp_path: Path) -> None:
    kinds = {
        name: small_config(name, *two_domains).method.translator.generator.kind
        for name in ("cyclegan", "attent")
    }
    assert kinds == {"cyclegan": "plain", "attent": "gated"}


@pytest.mark.slow
@pytest.mark.parametrize("stopped_after", [1, 2, 3])
def test_a_run_stopped_in_either_stage_ends_the_same(
    stopped_after: int, two_domains: Domains, tmp_path: Path
) -> None:
    settings = {"steps": 4, "method": {"joint": False, "translation_steps": 2}}
    whole = _train(tmp_path / "whole", "attent", two_domains, **settings)
    parts = Run.create(tmp_path / "parts", small_config("attent", *two_domains, **settings))
    stop = threading.Event()
    if stopped_after == 1:
        stop.set()
    for progress in iterate(parts, stop=stop):
        if progress.step == stopped_after - 1:
            stop.set()
    assert checkpoint.newest(parts.checkpoints)[0] == stopped_after
    for _ in iterate(Run.open(parts.path)):
        pass
    assert events(parts) == ["started", "stopped", "resumed", "finished"]
    assert_same_tensors(weights_of(whole), weights_of(parts))
    assert metric_lines(whole) == metric_lines(parts)


STAGE_B = {"joint": False, "translation_steps": 0}
GATED = {"translator": {"generator": {"kind": "gated"}}}


@pytest.fixture(scope="module")
def translator_run(two_domains: Domains, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Stage A alone: a cyclegan run with gates."""
    folder = tmp_path_factory.mktemp("translator") / "run"
    return _train(folder, "cyclegan", two_domains, steps=2, method=GATED)


@pytest.mark.parametrize("keep", [True, False])
def test_stage_b_takes_the_generators_of_another_run(
    keep: bool, translator_run: Run, two_domains: Domains, tmp_path: Path
) -> None:
    method = {**STAGE_B, "keep_segmentor": keep, "segmentor_optimizer": {"lr": 1e-12}}
    init = str(translator_run.path)
    run = _train(tmp_path / "b", "attent", two_domains, steps=2, init=init, method=method)
    before, after = weights_of(translator_run), weights_of(run)
    generators = [name for name in before if "generators." in name]
    assert len(generators) > 20
    assert all(torch.equal(before[name], after[name]) for name in generators)
    name = "segmentor.head.weight"
    assert torch.allclose(before[name], after[name], atol=1e-6) == keep
    assert trained_method(run).translator.trained_steps == 2
    assert len(list(trained_method(run).optimizers())) == 3  # segmentor and two discriminators


@pytest.mark.parametrize("method", ["attent", "cyclegan"])
@pytest.mark.parametrize(
    ("name", "mine", "theirs"), [("factor", 1, 2), ("norm", "batch", "instance")]
)
def test_gates_that_compute_otherwise_are_refused(
    method: str, name: str, mine: Any, theirs: Any, translator_run: Run, two_domains: Domains,
    tmp_path: Path,
) -> None:  # fmt: skip
    """The weights fit (a factor has none), but the maps would be halved or normalised otherwise."""
    generator = {"kind": "gated", f"gate_{name}": mine}
    with pytest.raises(InputError) as caught:
        _train(
            *(tmp_path / "b", method, two_domains),
            steps=1,
            init=str(translator_run.path),
            method={"translator": {"generator": generator}},
        )
    assert str(caught.value) == (
        f"the generators of the run to start from learnt with gate_{name} {theirs} and would translate "
        f"otherwise with {mine}; set method.translator.generator.gate_{name} to {theirs}"
    )


def test_gates_do_not_matter_where_generators_are_not_taken(
    translator_run: Run, two_domains: Domains, tmp_path: Path
) -> None:
    init = str(translator_run.path)
    plain = _train(tmp_path / "plain", "cyclegan", two_domains, steps=1, init=init)
    assert trained_method(plain).translator.trained_steps == 1  # they started anew
    _train(tmp_path / "source", "source_only", two_domains, steps=1, init=init)


def test_stage_b_may_segment_with_another_network(
    translator_run: Run, two_domains: Domains, tmp_path: Path
) -> None:
    method = {**STAGE_B, "keep_segmentor": False}
    wider = {"segmentor": {"width": 6}, "init": str(translator_run.path)}
    run = _train(tmp_path / "b", "attent", two_domains, steps=1, method=method, **wider)
    assert trained_method(run).segmentor.feature_channels == 12
    with pytest.raises(InputError, match="is not that of this run"):
        _train(tmp_path / "c", "attent", two_domains, steps=1, method=STAGE_B, **wider)


@pytest.mark.parametrize(
    "generator", [{"width": 8}, {"blocks": 2}, {"kind": "skips"}, {"width": 8, "gate_factor": 1}]
)
def test_generators_of_other_settings_are_not_taken_in_part(
    generator: dict[str, Any], translator_run: Run, two_domains: Domains, tmp_path: Path
) -> None:
    method = {**STAGE_B, "translator": {"generator": generator}}
    with pytest.raises(InputError, match="no trained generators of these settings"):
        _train(
            *(tmp_path / "b", "attent", two_domains),
            steps=1,
            init=str(translator_run.path),
            method=method,
        )


def test_a_longer_generator_is_not_cut_to_size(two_domains: Domains, tmp_path: Path) -> None:
    longer = {"translator": {"generator": {"kind": "gated", "blocks": 2}}}
    init = _train(tmp_path / "a", "cyclegan", two_domains, steps=1, method=longer)
    with pytest.raises(InputError, match="no trained generators of these settings"):
        _train(
            *(tmp_path / "b", "attent", two_domains),
            steps=1,
            init=str(init.path),
            method=STAGE_B,
        )


def test_stages_that_leave_no_model_are_refused(two_domains: Domains, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no trained generators .* give --init"):
        _train(tmp_path / "a", "attent", two_domains, steps=2, method=STAGE_B)
    late = {"joint": False, "translation_steps": 2}
    with pytest.raises(InputError, match="translation_steps is 2 of 2 steps and leaves none"):
        _train(tmp_path / "b", "attent", two_domains, steps=2, method=late)
