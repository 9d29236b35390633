"""The training loop: an iterator of `Progress` that the CLI, the viewer and the tests all drive."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from napari_uda.core import distributed
from napari_uda.core.errors import Cancelled, InputError
from napari_uda.core.runtime import Runtime
from napari_uda.core.schedule import poly
from napari_uda.data.fourier import grey_amplitude
from napari_uda.methods.base import Method, method_class
from napari_uda.methods.build import build_method
from napari_uda.run import checkpoint
from napari_uda.run.folder import StopRequest
from napari_uda.run.run import Run
from napari_uda.training.heartbeat import Pulse
from napari_uda.training.load import DataFacts, TrainingData, load_training_data
from napari_uda.training.previews import Previews

if TYPE_CHECKING:
    import threading

    from torch import Tensor

    from napari_uda.run.config import RunConfig

logger = logging.getLogger(__name__)

_LOUDNESS: tuple[StopRequest, ...] = ("", "save", "discard")


@dataclass(frozen=True)
class Progress:
    """State of a run after a step.

    Attributes:
        step: steps done.
        total: steps of the run.
        seconds: training time so far, earlier sessions included.
        scalars: losses of the last logged step by name.
        stopped: whether this is the last word because the stop event was set.
    """

    step: int
    total: int
    seconds: float
    scalars: Mapping[str, float] = field(default_factory=dict)
    stopped: bool = False


def train_run(run: Run, *, stop: threading.Event | None = None) -> Iterator[Progress]:
    """Train a new run, or continue one from its newest checkpoint.

    Batch, augmentation and views of a step depend on (settings, seed, step) alone, so a run that
    was stopped or killed ends with the same weights, bit for bit, as one that was not.

    Whoever watches the run folder can ask for previews and for a stop (`RunFolder`); neither changes
    what the steps compute.

    Args:
        run: the run folder with its settings.
        stop: when set, the loop saves and returns after the current step.

    Yields:
        One `Progress` per step.

    Raises:
        InputError: for data or settings that cannot be used.
        FloatingPointError: when a loss is not finite; the last checkpoint is kept.
        Cancelled: when the run folder holds a request to discard; nothing is saved then.
    """
    leader = distributed.rank() == 0
    handler = run.log_handler() if leader else logging.NullHandler()
    package_logger = logging.getLogger("napari_uda")
    package_logger.addHandler(handler)
    try:
        with Pulse(run, active=leader) as pulse:
            try:
                yield from _train(run, stop, leader, pulse)
            except (GeneratorExit, Cancelled):
                raise
            except BaseException as error:
                if leader:
                    with suppress(InputError):  # on a full disk, say what failed first
                        run.event("failed", reason=f"{type(error).__name__}: {error}")
                raise
    finally:
        package_logger.removeHandler(handler)
        handler.close()
        if leader:
            shutil.rmtree(run.cache, ignore_errors=True)


def _train(
    run: Run, stop: threading.Event | None, leader: bool, pulse: Pulse
) -> Iterator[Progress]:
    config = run.config
    runtime = Runtime(config)
    pulse.device = runtime.device
    data = _load_data(run, leader)
    check_validation(config, has_held_out=bool(data.held_out))
    method = build_method(config, data.facts)
    if data.facts.grid.size % method.segmentor.stride:
        raise InputError(
            f"slices of {data.facts.grid.size} pixels do not fit this network; choose a data.size that "
            f"is a multiple of {method.segmentor.stride}"
        )
    pair = checkpoint.newest(run.checkpoints)
    if pair is None:
        checkpoint.refuse_damaged(run.checkpoints)
        _start(method, config.init, data)
    method.place(runtime.device).train()
    optimizers = method.optimizers()
    runtime.attach(optimizers)
    done = checkpoint.resume(run.checkpoints, method, optimizers) if pair else 0
    _wait_for_all()  # nobody rewinds or saves while another rank still reads the checkpoint
    if leader:
        run.rewind(done)
        run.event("resumed" if done else "started", step=done, device=str(runtime.device))
    logger.info("%s on %s, step %d of %d", config.method.name, runtime.device, done, config.steps)
    logger.info("labels of the target that it was told: %s", data.facts.target_supervision)
    before, began = run.seconds(), time.monotonic()
    best = -1.0
    pulse.step = done
    if done == 0:
        method.prepare(data, runtime)
    previews = Previews(run, method, data, runtime)

    scalars: dict[str, float] = {}
    while done < config.steps:
        runtime.step = done
        runtime.set_learning_rates(poly(done, config.steps, config.method.lr_power))
        if method.refresh_due(done):
            method.refresh(data, runtime)
        losses = method.step(data.batch(done, runtime.device), runtime)
        done += 1
        seconds = before + time.monotonic() - began
        last = done == config.steps
        pulse.step = done
        request = _loudest("save" if stop is not None and stop.is_set() else pulse.stop_request)
        if request == "discard" and not last:
            if leader:
                run.event("discarded", step=done)
            raise Cancelled(f"cancelled on request at step {done}; nothing was saved")
        stopping = request != "" and not last
        logging_now = last or done % config.log_every == 0
        if stopping or logging_now:
            scalars = _mean_over_ranks(losses)
        if leader:  # a stop adds no line and no score, or a resumed run would differ
            if logging_now:
                run.log(done, seconds, scalars)
            previews.after_step(done, pulse.preview_request)
            if config.validate_every and (last or done % config.validate_every == 0):
                best = _validate(run, method, data, done, seconds, best, runtime)
            if stopping or last or done % config.save_every == 0:
                checkpoint.save(run.checkpoints, method, optimizers, done)
        if stopping:
            if leader:
                run.event("stopped", step=done)
            yield Progress(done, config.steps, seconds, scalars, stopped=True)
            return
        yield Progress(done, config.steps, seconds, scalars)
    if leader:
        run.event("finished", step=done)
    _wait_for_all()


def _load_data(run: Run, leader: bool) -> TrainingData:
    config = run.config
    run_known = run.known_facts()
    _wait_for_all()  # every rank looks for data.json before rank 0 writes it
    data = load_training_data(
        config, method_class(config.method.name), cache=run.cache, known=run_known
    )
    if run_known and run_known.fingerprint != data.facts.fingerprint:
        raise InputError(
            f"the volumes of {run.path} are not those that it began with (names or sizes of files "
            "have changed); restore them or train a new run"
        )
    if leader:
        run.write_facts(data.facts)
    return data


def check_validation(config: RunConfig, *, has_held_out: bool) -> None:
    """Refuse to validate or select without cases to score.

    Raises:
        InputError: saying which setting is missing.
    """
    if config.validate_every and not has_held_out:
        raise InputError(
            "validate_every needs held-out labelled cases; set data.validation_fraction above 0"
        )
    if config.select == "source_validation" and not config.validate_every:
        raise InputError("select source_validation needs scores; set validate_every above 0")


def _start(method: Method[Any], init: Path | None, data: TrainingData) -> None:
    """First weights of a new run: those of `init` where they fit, and the amplitude bank."""
    if init is not None:
        start = Run.open(init)
        method.check_init(start.config.method)
        given = checkpoint.load_weights(start.weights_file())
        own = method.state_dict()
        fitting = {
            name: tensor
            for name, tensor in given.items()
            if name in own and own[name].shape == tensor.shape and method.loads_from_init(name)
        }
        foreign = [n for n in own if n not in fitting]
        foreign += [n for n in given if n not in own]
        foreign = [n for n in foreign if n.startswith("segmentor.") and method.loads_from_init(n)]
        if foreign:
            raise InputError(
                f"the network of {init} is another one ({foreign[0]} does not fit); give both runs "
                "the same segmentor settings"
            )
        for part in _whole_parts(own):
            misfits = [n for n in own if n not in fitting] + [n for n in given if n not in own]
            if any(n.startswith(part) for n in misfits):  # half of a network is none
                fitting = {k: v for k, v in fitting.items() if not k.startswith(part)}
                if any(n.startswith(part) for n in given):  # another method simply has none
                    logger.warning("%s of %s does not fit and starts anew", part[:-1], init.name)
        if data.source is None and "amplitude_bank" not in fitting:
            raise InputError(
                f"bank_size or fourier_half_width of reliability are not those of {init}, whose source "
                "spectra the votes need; give both runs the same"
            )
        method.load_state_dict({**own, **fitting})
        logger.info("%d of %d tensors taken from %s", len(fitting), len(own), init.name)
    settings = method.config.reliability
    if data.source is not None:
        slices = data.source_slices(settings.bank_size, data.config.seed)
        method.amplitude_bank.copy_(grey_amplitude(slices, settings.fourier_half_width))


def _whole_parts(names: Iterable[str]) -> list[str]:
    """Prefixes of the discriminators and generators among the names of parameters and buffers."""
    found = set()
    for kind in ("discriminators.", "generators."):
        for name in names:
            if kind in name:
                found.add(name[: name.index(".", name.index(kind) + len(kind)) + 1])
    return sorted(found)


def _validate(
    run: Run,
    method: Method[Any],
    data: TrainingData,
    step: int,
    seconds: float,
    best: float,
    runtime: Runtime,
) -> float:
    """Mean Dice on the held-out labelled cases, for watching; keeps the best weights if selected."""
    from napari_uda.data.volume import read_labels, read_volume
    from napari_uda.evaluation import evaluate
    from napari_uda.inference.predict import segment_volume

    intensity = data.facts.source_intensity
    assert intensity is not None
    values = []
    for case in data.held_out:
        assert case.label is not None
        image = read_volume(case.image)
        maps = segment_volume(
            *(method, data.facts, image, intensity, runtime.device), labelled_domain=True
        )
        prediction = image.with_array(maps.labels)
        scores = evaluate(prediction, read_labels(case.label), names=data.facts.names())
        values += [
            float(row["dice"])
            for row in scores.rows
            if row["state"] != "absent" and row["name"] in data.facts.labels
        ]
    dice = sum(values) / max(1, len(values))
    run.log(step, seconds, {"source_validation_dice": dice})
    earlier = max(
        (
            float(m["source_validation_dice"])
            for m in run.metrics()
            if "source_validation_dice" in m and m["step"] < step
        ),
        default=-1.0,
    )
    if run.config.select == "source_validation" and dice > max(best, earlier):
        checkpoint.save_weights(run.checkpoints / checkpoint.BEST, method, step)
    return max(best, dice)


def _loudest(request: StopRequest) -> StopRequest:
    """The strongest request of any rank: all ranks stop after the same step, in the same way."""
    if not distributed.is_distributed():
        return request
    votes = torch.tensor(
        [float(_LOUDNESS.index(request))]
    )  # on the CPU: gloo talks there beside nccl
    dist.all_reduce(votes, dist.ReduceOp.MAX)
    return _LOUDNESS[int(votes.item())]


def _mean_over_ranks(losses: Mapping[str, Tensor]) -> dict[str, float]:
    """The logged scalars as of the whole batch."""
    if not distributed.is_distributed():
        return {name: float(value) for name, value in losses.items()}
    values = torch.stack([value.detach().float().reshape(()) for value in losses.values()])
    dist.all_reduce(values)
    return dict(zip(losses, (values / distributed.world_size()).tolist(), strict=True))


def _wait_for_all() -> None:
    if distributed.is_distributed():
        dist.barrier()


__all__ = ["DataFacts", "Progress", "train_run"]
