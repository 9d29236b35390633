"""Out of memory is one sentence, whatever word the library uses."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_cases import events, small_config

from napari_uda.api import iterate
from napari_uda.cli import main
from napari_uda.core.errors import MEMORY_RAN_OUT, InputError, ran_out_of_memory, sentence
from napari_uda.inference.batches import smaller_batch
from napari_uda.methods.registry import method_class
from napari_uda.run import checkpoint
from napari_uda.run.run import Run
from napari_uda.training import previews

WORDS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"),
    RuntimeError("could not create a primitive"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("bad allocation"),
    RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("MPS backend out of memory"),
    MemoryError(),
    MemoryError("std::bad_alloc"),
    MemoryError("Unable to allocate 7.28 TiB for an array with shape (10, 10)"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ValueError("out of memory"),  # what a file is called, for instance
    OSError(errno.ENOSPC, "No space left on device"),
    InputError("memory.nii: out of memory of all readers"),
]


@pytest.mark.parametrize("error", WORDS, ids=lambda e: str(e)[:30])
def test_every_word_is_known(error: Exception) -> None:
    assert ran_out_of_memory(error)
    assert sentence(error) == MEMORY_RAN_OUT
    assert smaller_batch(error, 5, "case") == 2  # type: ignore[arg-type]
    with pytest.raises(InputError, match="case: one slice does not fit into memory"):
        smaller_batch(error, 1, "case")  # type: ignore[arg-type]


@pytest.mark.parametrize("error", OTHERS, ids=lambda e: str(e)[:30])
def test_other_errors_keep_their_words(error: Exception) -> None:
    assert not ran_out_of_memory(error)
    assert sentence(error) != MEMORY_RAN_OUT


def test_what_numpy_really_says() -> None:
    with pytest.raises(MemoryError) as caught:
        np.empty((2**40, 2**20), np.uint8)
    assert ran_out_of_memory(caught.value)


@pytest.mark.parametrize("error", WORDS, ids=lambda e: str(e)[:30])
def test_a_command_says_it_and_ends_with_code_2(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def hungry(*_: Any) -> None:
        raise error

    monkeypatch.setattr("napari_uda.cli.dispatch._dispatch", hungry)
    with pytest.raises(SystemExit) as ended:
        main(["methods"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"napari-uda: {MEMORY_RAN_OUT}\n"


@pytest.mark.parametrize("error", [WORDS[0], WORDS[4], WORDS[10]], ids=lambda e: type(e).__name__)
def test_training_keeps_its_checkpoint_and_names_the_settings(
    error: Exception,
    two_domains: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = method_class("source_only")
    step, calls = kind.step, iter(range(99))

    def hungry(self: Any, *arguments: Any) -> Any:
        if next(calls) == 3:
            raise error
        return step(self, *arguments)

    monkeypatch.setattr(kind, "step", hungry)
    settings = small_config("source_only", *two_domains, steps=6, save_every=2)
    run = Run.create(tmp_path / "run", settings)
    with pytest.raises(InputError) as caught:
        list(iterate(run))
    assert str(caught.value) == (
        f"memory ran out after step 3 of {run.path}; its last checkpoint is kept: close other programs "
        "and resume it, or train a new run with a smaller --batch-size or --data.size"
    )
    assert events(run) == ["started", "failed"]
    pair = checkpoint.newest(run.checkpoints)
    assert pair is not None
    assert pair[0] == 2
    assert Run.open(run.path).config.batch_size == settings.batch_size  # never by itself
    assert [p.step for p in iterate(run)] == [3, 4, 5, 6]


@pytest.mark.parametrize("error", WORDS[-4:], ids=lambda e: type(e).__name__)
def test_a_preview_without_memory_does_not_end_training(
    error: Exception,
    two_domains: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hungry(*_: Any) -> Iterator[None]:
        raise error

    monkeypatch.setattr(previews, "preview_arrays", hungry)
    run = Run.create(
        tmp_path / "run", small_config("source_only", *two_domains, steps=2, preview_every=1)
    )
    list(iterate(run))
    assert events(run)[-1] == "finished"
