"""What holds for every method, found by scanning: a new method is tested by being there."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from method_cases import Bench, bench
from pydantic import BaseModel
from tiny_cases import (
    LABELS,
    assert_same_tensors,
    changed,
    merge,
    metric_lines,
    small_config,
    snapshot,
    trained_method,
)

import napari_uda as uda
from napari_uda.api import iterate
from napari_uda.core.errors import InputError
from napari_uda.methods.base import MethodConfig
from napari_uda.methods.registry import METHODS, method_class
from napari_uda.run import checkpoint
from napari_uda.run.config import RunConfig
from napari_uda.run.run import Run

Domains = tuple[Path, Path]
every_method = pytest.mark.parametrize("name", METHODS)


LEARNING = [name for name, kind in METHODS.items() if kind.learns]


def learns_from_labels(name: str) -> bool:
    """Whether a method has a supervised loss at all; one that adapts a trained run has none."""
    return METHODS[name].learns_from_corrected


def plays_a_game(name: str) -> bool:
    """Whether all that a method minimises is what others of its players maximise."""
    return not learns_from_labels(name) and METHODS[name].family != "source-free"


def main_loss(logs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """What has to fall: the supervised loss, or without one all there is."""
    return (
        logs["segmentation"] if "segmentation" in logs else torch.stack(list(logs.values())).sum()
    )


SUPERVISED = {"aux_weight", "ce_weight", "dice_weight"}
"""Weights inside the one logged term `segmentation`; one of the last two has to stay."""


def weight_paths(kind: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where a config, or one nested in it, has a field `*_weight`; test_corrected.py has corrected cases."""
    for name, field in kind.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield from weight_paths(nested, (*prefix, name))
        elif name.endswith("_weight") and name != "corrected_weight":
            yield (*prefix, name)


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """`{"a": {"b": value}}` for the path a, b."""
    for part in reversed(path):
        value = {part: value}
    return value  # type: ignore[no-any-return]


def lookup(config: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        config = getattr(config, part)
    return config


def all_on(name: str) -> dict[str, Any]:
    """Settings in which every weight that is 0 by default is not."""
    kind = method_class(name).config_class
    settings: dict[str, Any] = {}
    for path in weight_paths(kind):
        if not lookup(kind(), path):  # type: ignore[call-arg] # every method has its name as default
            settings |= nested(path, 1e-3)
    return settings


WEIGHTS = [
    (name, path)
    for name in METHODS
    for path in weight_paths(METHODS[name].config_class)
    if learns_from_labels(name) or path not in {("ce_weight",), ("dice_weight",)}
    if not plays_a_game(name) or path != ("aux_weight",)
]


def _ids(value: Any) -> str | None:
    return ".".join(value) if isinstance(value, tuple) else None


# --- one step -------------------------------------------------------------------------------------


def test_methods_that_read_target_labels_say_so() -> None:
    for kind in METHODS.values():
        says = kind.config_class().target_supervision != "none"
        assert says == ("target_labels" in kind.needs)


@every_method
def test_a_step_moves_every_player_and_nobody_else(
    name: str, two_domains: Domains, tmp_path: Path
) -> None:
    stand = bench(name, two_domains, tmp_path, method=all_on(name))
    calls: list[str] = []
    minimise = stand.runtime.minimise

    def counted(terms: dict[str, torch.Tensor], *players: str) -> dict[str, torch.Tensor]:
        calls.extend(players)
        before = snapshot(stand.method)
        logged = minimise(terms, *players)
        moved = {n for p in players for n in stand.parameters_of(p)}
        # a step on a part of a player's losses may leave some of it as it is; all of it moves in the end
        assert set() < changed(before, stand.method) <= moved
        return logged

    stand.runtime.minimise = counted  # type: ignore[method-assign]
    before = snapshot(stand.method)
    logs = stand.step()
    players = stand.method.optimizers().keys()
    assert set(calls) == set(players)  # some methods step one of them more than once
    for player in players:
        assert stand.parameters_of(player) <= changed(before, stand.method)
    owned = [n for player in players for n in stand.parameters_of(player)]
    assert len(owned) == len(set(owned))
    trainable = {n for n, p in stand.method.named_parameters() if p.requires_grad}
    assert set(owned) == trainable
    assert ("segmentation" in logs) == learns_from_labels(name), (
        "a method with a supervised loss says learns_from_corrected and minimises corrected_terms(batch)"
    )
    for term, value in logs.items():
        assert value.shape == (), term
        assert not value.requires_grad, term
        assert torch.isfinite(value), term


@every_method
def test_learning_rates_fall_to_zero(name: str, two_domains: Domains, tmp_path: Path) -> None:
    stand = bench(name, two_domains, tmp_path)
    stand.runtime.set_learning_rates(0.0)
    before = snapshot(stand.method)
    stand.step()
    parameters = {n for n, _ in stand.method.named_parameters()}
    assert not changed(before, stand.method) & parameters


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in LEARNING if not plays_a_game(n)])
def test_losses_fall_on_the_same_data(name: str, two_domains: Domains, tmp_path: Path) -> None:
    settings = {"segmentor_optimizer": {"lr": 1e-2}}
    stand = bench(name, two_domains, tmp_path, batch_size=6, method=settings)
    first, *_, last = [float(main_loss(stand.step())) for _ in range(15)]
    assert last < 0.9 * first


@pytest.mark.parametrize("name", sorted(set(METHODS) - set(LEARNING)))
def test_a_method_that_does_not_learn_has_done_all_before_its_first_step(
    name: str, two_domains: Domains, tmp_path: Path
) -> None:
    assert uda.api.build_config(name).steps == 1
    stand = bench(name, two_domains, tmp_path)
    assert not stand.method.optimizers()
    before = snapshot(stand.method)
    stand.step()
    after = snapshot(stand.method)
    assert changed(before, stand.method)
    stand.step()
    assert_same_tensors(after, snapshot(stand.method))


@every_method
def test_bfloat16_steps_are_finite(name: str, two_domains: Domains, tmp_path: Path) -> None:
    stand = bench(name, two_domains, tmp_path, precision="bf16", method=all_on(name))
    exact = bench(name, two_domains, tmp_path, method=all_on(name))
    for _ in range(2):
        logs, expected = stand.step(), exact.step()
        for term, value in logs.items():
            assert value.dtype == torch.float32, term  # losses are never bfloat16
            assert torch.isfinite(value), term
    if not plays_a_game(name):
        assert main_loss(logs) == pytest.approx(float(main_loss(expected)), rel=0.1)
    assert all(torch.isfinite(p).all() for p in stand.method.parameters())


@every_method
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_smallest_batch_and_several_neighbours(
    name: str, norm: str, two_domains: Domains, tmp_path: Path
) -> None:
    settings = {"batch_size": 1, "data": {"neighbours": 3}, "segmentor": {"norm": norm}}
    if METHODS[name].needs_batch_norm and norm != "batch":
        refusal = f"{name} changes batch normalisation, and this network has none"
        with pytest.raises(InputError, match=refusal):
            bench(name, two_domains, tmp_path, **settings)
        return
    stand = bench(name, two_domains, tmp_path, **settings)
    for value in stand.step().values():
        assert torch.isfinite(value)


@pytest.mark.parametrize("name", filter(learns_from_labels, METHODS))
def test_slices_of_background_alone_are_learnt_from(
    name: str, two_domains: Domains, tmp_path: Path
) -> None:
    stand = bench(name, two_domains, tmp_path)
    batch = stand.data.batch(0, torch.device("cpu"))
    batch.labelled().label.zero_()
    stand.method.before_step(stand.data, stand.runtime)
    for value in stand.method.step(batch, stand.runtime).values():
        assert torch.isfinite(value)


# --- weights --------------------------------------------------------------------------------------


def _first_logs(name: str, domains: Domains, cache: Path, **method: Any) -> dict[str, float]:
    """The logs of a first step in which nobody moves, so that every term is that of the first weights."""
    stand = bench(name, domains, cache, method=method)
    stand.runtime.set_learning_rates(0.0)
    return {term: float(value) for term, value in stand.step().items()}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "path"), WEIGHTS, ids=_ids)
def test_a_weight_of_zero_removes_its_term_and_no_other(
    name: str, path: tuple[str, ...], two_domains: Domains, tmp_path: Path
) -> None:
    on = all_on(name)
    full = _first_logs(name, two_domains, tmp_path, **on)
    without = _first_logs(name, two_domains, tmp_path, **merge(on, nested(path, 0)))
    assert without.keys() <= full.keys()
    removed = full.keys() - without.keys()
    if path[-1] in SUPERVISED and len(path) == 1:
        assert not removed
        # "segmentation" and, where another player learns from it too, what that one minimises
        supervised = {term for term in full if term.startswith("segmentation")}
        inside = supervised if learns_from_labels(name) else full.keys()
        for term in inside:
            assert without[term] < full[term]
            without[term] = full[term]
    else:
        assert removed
        assert "segmentation" not in removed
    # the first step starts from the same weights, so what is left has the same value
    assert without == {term: full[term] for term in without}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "path"), [w for w in WEIGHTS if w[1] not in {(s,) for s in SUPERVISED}], ids=_ids
)
def test_a_weight_scales_its_term(
    name: str, path: tuple[str, ...], two_domains: Domains, tmp_path: Path
) -> None:
    on = all_on(name)
    base = lookup(small_config(name, *two_domains, method=on).method, path)
    full = _first_logs(name, two_domains, tmp_path, **on)
    double = _first_logs(name, two_domains, tmp_path, **merge(on, nested(path, 2 * base)))
    scaled = {term for term in full if full[term] != double[term]}
    assert len(scaled) == 1
    term = scaled.pop()
    assert double[term] == pytest.approx(2 * full[term], rel=1e-5)


@pytest.mark.parametrize(("name", "path"), WEIGHTS, ids=_ids)
def test_a_negative_weight_is_refused(name: str, path: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=f"{path[-1]}.*must be at least 0"):
        uda.api.build_config(name, method=nested(path, -1))


# --- predict, store, resume -----------------------------------------------------------------------


@every_method
def test_predict_gives_logits_at_the_size_of_the_image(
    name: str, two_domains: Domains, tmp_path: Path
) -> None:
    stand = bench(name, two_domains, tmp_path)
    stand.method.eval()
    with torch.no_grad():
        for batch, height, width in ((1, 32, 32), (3, 20, 44)):
            logits = stand.method.predict(torch.rand(batch, 1, height, width))
            assert logits.shape == (batch, len(LABELS) + 1, height, width)
            assert torch.isfinite(logits).all()


@every_method
def test_settings_survive_the_run_folder(name: str, two_domains: Domains, tmp_path: Path) -> None:
    config = small_config(
        name, *two_domains, init=str(tmp_path / "före"), method=all_on(name), clip_norm=0.1 + 0.2
    )
    run = Run.create(tmp_path / "run", config)
    opened = Run.open(run.path).config
    assert opened == config
    assert type(opened.method) is METHODS[name].config_class
    assert opened.method.name == name
    text = run.config_file.read_text(encoding="utf-8")
    for field in METHODS[name].config_class.model_fields:
        assert f"  {field}:" in text  # every field is written out, defaults too
    assert "!" not in text.replace("!=", "")  # no YAML tags: plain values only


@every_method
def test_a_stored_method_gives_the_same_logits(
    name: str, two_domains: Domains, tmp_path: Path
) -> None:
    stand = bench(name, two_domains, tmp_path)
    for _ in range(2):
        stand.step()
    run = Run.create(tmp_path / "run", stand.config)
    run.write_facts(stand.data.facts)
    weights = {**stand.method.state_dict(), checkpoint.AMPLITUDE_BANK: torch.zeros(32, 1, 5, 5)}
    checkpoint.save(run.checkpoints, weights, stand.method.optimizers(), 2)
    again = trained_method(Run.open(run.path))
    assert not again.training
    assert type(again) is type(stand.method)
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(again.predict(image), stand.method.eval().predict(image))
    assert_same_tensors(snapshot(stand.method), snapshot(again))


@pytest.mark.slow
@every_method
def test_two_steps_and_two_more_are_four(name: str, two_domains: Domains, tmp_path: Path) -> None:
    config = small_config(
        name, *two_domains, steps=4, method=all_on(name), augment={"intensity": "bezier"}
    )
    whole, parts = (Run.create(tmp_path / folder, config) for folder in ("whole", "parts"))
    for _ in iterate(whole):
        pass
    stop = threading.Event()
    for progress in iterate(parts, stop=stop):
        stop.set()  # noticed at the end of the next step
        assert progress.step <= 2
    for _ in iterate(Run.open(parts.path)):
        pass
    for file in (checkpoint.WEIGHTS, checkpoint.STATE):
        first, second = (checkpoint.load_weights(r.checkpoints / file) for r in (whole, parts))
        assert_same_tensors(first, second)
    assert metric_lines(whole) == metric_lines(parts)


# --- how a method is written ----------------------------------------------------------------------


def _undocumented(kind: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
    if kind in seen:
        return
    seen.add(kind)
    if not (kind.__doc__ or "").strip():
        yield kind.__name__
    for name, field in kind.model_fields.items():
        if not (field.description or "").strip():
            yield f"{kind.__name__}.{name}"
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _undocumented(part, seen)


@pytest.mark.parametrize("kind", [RunConfig, *(m.config_class for m in METHODS.values())])
def test_every_setting_says_what_it_does(kind: type[BaseModel]) -> None:
    assert not list(_undocumented(kind, set()))


@every_method
def test_a_method_describes_itself(name: str) -> None:
    kind = METHODS[name]
    assert kind.family in {"bounds", "output space", "self-training", "translation", "source-free"}
    assert kind.paper
    assert kind.summary
    assert kind.summary[0].islower()
    assert not kind.summary.endswith(".")
    assert kind.needs
    assert kind.needs <= {"source", "target", "target_labels"}
    assert kind.__doc__
    assert issubclass(kind.config_class, MethodConfig)
    assert kind.config_class().name == name  # type: ignore[call-arg]
    assert kind.config_class.__name__ == f"{kind.__name__}Config"
    assert method_class(name.replace("_", "-")) is kind


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown method 'se_asb'; did you mean se_asa\?"):
        method_class("se_asb")
    with pytest.raises(InputError, match=r"unknown method 'nothing'; choose one of .*se_asa"):
        method_class("nothing")
    assert len({kind.__name__ for kind in METHODS.values()}) == len(METHODS)


def test_the_bench_is_that_of_the_loop(two_domains: Domains, tmp_path: Path) -> None:
    """The first logged losses of a run are those of a bench: these tests test what runs."""
    stand: Bench = bench("se_asa", two_domains, tmp_path)
    expected = {term: float(value) for term, value in stand.step().items()}
    run = Run.create(tmp_path / "run", small_config("se_asa", *two_domains, steps=2))
    next(iter(iterate(run)))
    (line,) = metric_lines(run)
    assert line == {"step": 1, **expected}
