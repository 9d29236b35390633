"""NaN never leaves: a loss, weights or a result that is not finite ends in a sentence, and there is a way on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_cases import (
    assert_same_tensors,
    blob_case,
    events,
    metric_lines,
    small_config,
    weights_of,
)
from torch import Tensor

import napari_uda as uda
from napari_uda.api import iterate
from napari_uda.core.errors import InputError, NotFiniteError
from napari_uda.core.runtime import Runtime
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.slice_views import slice_views
from napari_uda.methods.registry import method_class
from napari_uda.run import checkpoint
from napari_uda.run.run import Run
from napari_uda.run.status import RunState, run_status
from napari_uda.training.adapt import adapt

Domains = tuple[Path, Path]


def new_run(folder: Path, domains: Domains, **settings: Any) -> Run:
    return Run.create(folder, small_config("source_only", *domains, **settings))


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps, counted from 0, whose loss is NaN."""
    steps: list[int] = []
    minimise = Runtime.minimise

    def bad(self: Runtime, terms: Mapping[str, Tensor], *players: str) -> dict[str, Tensor]:
        factor = float("nan") if self.step in steps else 1.0
        return minimise(self, {name: term * factor for name, term in terms.items()}, *players)

    monkeypatch.setattr(Runtime, "minimise", bad)
    return steps


def test_a_step_that_is_skipped_stays_skipped(
    two_domains: Domains, tmp_path: Path, spoiled: list[int]
) -> None:
    """Stopped and resumed after the skip, the run ends with the weights of one that was not."""
    spoiled.append(3)
    ended = []
    for name, parts in (("whole", 1), ("parts", 2)):
        run = new_run(tmp_path / name, two_domains, steps=6, save_every=2)
        with pytest.raises(FloatingPointError, match="at step 3"):
            list(iterate(run))
        assert run.skip_failed_step() == 3
        assert run_status(run).state is RunState.FAILED  # until it goes on
        if parts == 2:
            iterator = iterate(run)
            while next(iterator).step < 5:
                pass
            iterator.close()  # type: ignore[attr-defined]
        assert [p.step for p in iterate(run)][-1] == 6
        ended.append(run)
    whole, again = ended
    assert_same_tensors(weights_of(whole), weights_of(again))
    assert metric_lines(whole) == metric_lines(again)
    lines = {line["step"]: set(line) - {"step"} for line in metric_lines(whole)}
    assert lines[4] == set()  # the fourth step learnt nothing
    assert lines[5] == lines[3] != set()
    assert events(whole) == ["started", "failed", "skipped", "resumed", "finished"]
    assert whole.skipped_steps() == {3}


def test_there_is_no_step_to_skip_in_a_run_that_ended_otherwise(
    two_domains: Domains, tmp_path: Path
) -> None:
    run = new_run(tmp_path / "run", two_domains, steps=2)
    for _ in range(2):
        with pytest.raises(InputError, match="did not end by a loss that is not finite"):
            run.skip_failed_step()
        list(iterate(run))


def test_the_last_step_may_be_skipped_too(
    two_domains: Domains, tmp_path: Path, spoiled: list[int]
) -> None:
    spoiled.append(1)
    run = new_run(tmp_path / "run", two_domains, steps=2)
    with pytest.raises(FloatingPointError):
        list(iterate(run))
    run.skip_failed_step()
    (*_, last) = iterate(run)
    assert (last.step, dict(last.scalars)) == (2, {})
    assert events(run)[-1] == "finished"


def test_a_changed_learning_rate_holds_from_the_checkpoint_on(
    two_domains: Domains, tmp_path: Path
) -> None:
    run = new_run(tmp_path / "run", two_domains, steps=6, save_every=2)
    iterator = iterate(run)
    while next(iterator).step < 2:
        pass
    iterator.close()  # type: ignore[attr-defined]
    before = weights_of(run)
    config = run.config
    optimizer = config.method.segmentor_optimizer.model_copy(update={"lr": 1e-30})
    method = config.method.model_copy(update={"segmentor_optimizer": optimizer})
    run = run.write_config(config.model_copy(update={"method": method}))
    list(iterate(Run.open(run.path)))
    after = weights_of(run)
    learnt = [n for n in before if not n.endswith(("_mean", "_var", "_tracked", "bank"))]
    assert learnt
    assert all(torch.allclose(before[n], after[n], rtol=0, atol=1e-20) for n in learnt)


def test_weights_that_are_not_finite_are_not_saved(
    two_domains: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statistic of batch normalisation, which no gradient shows."""
    kind = method_class("source_only")
    step = kind.step

    def spoil(self: Any, batch: Any, runtime: Runtime) -> Any:
        logs = step(self, batch, runtime)
        if runtime.step == 3:
            with torch.no_grad():
                next(self.segmentor.parameters()).view(-1)[0] = float("nan")
        return logs

    monkeypatch.setattr(kind, "step", spoil)
    run = new_run(tmp_path / "run", two_domains, steps=8, save_every=2)
    with pytest.raises(NotFiniteError, match=r"after step 4 the weights of segmentor\.\S+ are not"):
        list(iterate(run))
    pair = checkpoint.newest(run.checkpoints)
    assert pair is not None
    assert pair[0] == 2
    assert checkpoint.first_not_finite(weights_of(run)) == ""


@pytest.fixture
def spoilt_run(tiny_run: Run, tmp_path: Path) -> Run:
    """A whole run with a NaN in its weights, as another program may have written it."""
    run = Run.create(tmp_path / "spoilt", tiny_run.config)
    run.write_facts(tiny_run.facts)
    spoilt = weights_of(tiny_run)
    name = next(name for name in spoilt if name.startswith("segmentor."))
    spoilt[name].view(-1)[0] = float("nan")
    checkpoint.save_weights(run.checkpoints / checkpoint.WEIGHTS, spoilt, 3)
    return run


def test_weights_that_are_not_finite_do_not_predict(spoilt_run: Run, tmp_path: Path) -> None:
    volume, _ = blob_case("case", 3, bright=False)
    with pytest.raises(InputError) as caught:
        uda.predict(spoilt_run.path, volume)
    file = spoilt_run.checkpoints / checkpoint.WEIGHTS
    assert str(caught.value).startswith(f"{file} cannot be used: its tensor segmentor.")
    config = small_config(
        "source_only", *spoilt_run.path.parents[:2], steps=1, init=str(spoilt_run.path)
    )
    assert config.init == spoilt_run.path


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_results_that_are_not_finite_name_the_volume(tiny_run: Run, value: float) -> None:
    loaded = LoadedRun.load(tiny_run, "cpu")
    predict = loaded.method.predict

    def bad(image: Tensor) -> Tensor:
        logits: Tensor = predict(image).clone()
        logits[:, 1, 0, 0] = value
        return logits

    loaded.method.predict = bad  # type: ignore[method-assign]
    volume, _ = blob_case("patient_7", 3, bright=False)
    for work in (
        lambda: uda.predict(loaded, volume, reliability=False),
        lambda: uda.predict(loaded, volume),
        lambda: slice_views(loaded, volume, 2),
    ):
        with pytest.raises(NotFiniteError, match="patient_7: the network's result holds numbers"):
            work()


def test_an_adaptation_to_a_result_that_is_not_finite_is_given_up(
    tiny_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_uda.training import adapt as module

    train = module._train

    def spoil(loaded: LoadedRun, *arguments: Any) -> None:
        train(loaded, *arguments)
        with torch.no_grad():
            next(loaded.method.segmentor.parameters()).fill_(float("nan"))

    monkeypatch.setattr(module, "_train", spoil)
    volume, _ = blob_case("case", 3, bright=False)
    (found,) = adapt(tiny_run, volume, method="bn_adapt")
    assert found.reverted
    assert found.reason == "the adapted network's result is not finite"
    np.testing.assert_array_equal(found.after.labels, found.before.labels)


def test_threads_that_differ_are_said_on_resume(
    two_domains: Domains, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = new_run(tmp_path / "run", two_domains, steps=6, save_every=1)
    threads = torch.get_num_threads()

    def one_session(steps: int) -> list[str]:
        caplog.clear()
        iterator = iterate(run)
        while next(iterator).step < steps:
            pass
        iterator.close()  # type: ignore[attr-defined]
        return [m for m in caplog.messages if "bit for bit" in m]

    try:
        torch.set_num_threads(1)
        assert one_session(1) == []
        assert one_session(2) == []
        torch.set_num_threads(2)
        assert one_session(3) == [
            "the run goes on with 2 threads instead of 1: its numbers will not be the same bit for "
            "bit as without the stop"
        ]
        run.event("resumed", step=3, device="cuda:0", threads=2)
        assert one_session(4) == [
            "the run goes on on cpu instead of cuda: its numbers will not be the same bit for bit as "
            "without the stop"
        ]
        run.event("resumed", step=4, device="cpu")  # of version 0.1, which did not store them
        assert one_session(5) == []
    finally:
        torch.set_num_threads(threads)
    assert [e["threads"] for e in run.events() if "threads" in e] == [1, 1, 2, 2, 2, 2]
