"""Command lines that README, docs and examples have shown since 0.1.0: each still says the same.

The words are read as the commands read them; nothing runs.
"""

from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from napari_uda.cli import commands, dispatch, main, train
from napari_uda.cli.adapt import parse_adapt
from napari_uda.cli.usage import parse_call
from napari_uda.core.errors import InputError
from napari_uda.run.config import RunConfig

COMMANDS = """
demo --no-viewer --out DIR
phantom practice/train --subjects 6 --size 96
phantom OUT --anatomy abdominal --from-labels DIR --seed 1
convert mmwhs MMWHS_2017 data --split
convert btcv RawData OUT --domain ct --ignore-label-geometry
tags RUN DIR --out tags.json --areas
predict RUN MR/images --out PREDICTIONS
predict RUN hospital --out results --series "T2 TSE"
predict RUN p7/IM_0001 --out=results --series "echo time 2.3"
predict RUN A.nii.gz B.nii.gz --out DIR --device cpu --batch_size 2 --no-reliability --placement qform
evaluate PREDICTIONS LABELS --out SCORES --protocol sifa
report PREDICTIONS LABELS --out report.pdf --reader "Dr. X"
report PREDICTIONS --out=report.html
evaluate PREDICTIONS LABELS --out SCORES --match "left ventricle=LVC" aorta=
translate RUN IMAGE --out DIR --direction source_to_target
benchmark benchmarks/specs/mscmr.yaml --data FOLDER --out results --jobs 4 --ranks 2
benchmark SPEC.yaml --out results --executor slurm --slurm timeout_min=600 slurm_partition=gpu gpus_per_node=1
methods
show RUN --screenshot FILE
show practice/test/mr/images/mr_001.nii.gz practice/runs/adapted/predictions/mr_001_labels.nii.gz
adapt RUN IMAGE --out DIR
adapt RUN IMAGE --out DIR --method bn_adapt
adapt RUN IMAGE --out DIR --sizes-ml liver 1500 spleen 200 --max-volume-change 0 --presence all
adapt RUN IMAGE --out DIR --method tent --steps 20 --method.segmentor-optimizer.lr 1e-4 --together
"""
TRAINING = """
train se_asa --recipe cpu_small --data.source CT --data.target MR --run-dir RUN
train sfda --recipe cpu_small --init RUN --data.target DIR --run-dir NEW_RUN
train sfda --init RUN --data.target DIR --run-dir NEW --method.presence tags --method.weak-labels tags.json
train advent --data.source ct --data.target hospital --data.series water --run-dir runs/water
train se_asa --data.source data/ct/train --data.target data/mr/train --run-dir runs/ct2mr
train source_only --recipe cpu_small --steps 400 --augment.intensity gin_ipa --data.source CT --data.target MR --run-dir R
train se_asa --recipe cpu_small --steps 200 --init R --method.warmup-steps 0 --data.source A --data.target B --run-dir C
train se-asa --method.entropy-maximisation-weight 0 --data.source A --data.target B --run_dir=C
train se_asa --recipe cpu_small,table3_entmin_all --data.source DIR --data.target DIR --run-dir RUN
train --recipe advent_paper --data.source A --data.target B --run-dir C --series 3 --placement sform
"""


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


class Reached(Exception):
    """The words were understood."""


@pytest.mark.parametrize("line", lines(COMMANDS))
def test_commands(line: str) -> None:
    name, *words = shlex.split(line)
    if name == "adapt":
        assert callable(parse_adapt(words))
    else:
        assert callable(parse_call(commands.COMMANDS[name], words, f"napari-uda {name}"))


@pytest.mark.parametrize("line", lines(TRAINING))
def test_training(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[RunConfig] = []
    real = train._parse_settings

    def keep(default: RunConfig, rest: list[str]) -> RunConfig:
        parsed.append(real(default, rest))
        raise Reached

    monkeypatch.setattr(train, "_parse_settings", keep)
    words = shlex.split(line)
    with pytest.raises(Reached):
        dispatch._dispatch(words)
    (config,) = parsed
    given = dict(pairwise(words))
    if "--steps" in given:
        assert config.steps == int(given["--steps"])
    if "--init" in given:
        assert config.init == Path(given["--init"])
    if "--series" in given:
        assert (config.data.series, config.data.placement) == ("3", "sform")


@pytest.mark.parametrize(
    "words", ["", "--help", "-h", "--version", "train --help", "train -h", "predict --help"]
)
def test_what_explains(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = 0
    try:
        main(words.split())
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 0
    assert capsys.readouterr().out.strip()


def test_resume_takes_learning_rates() -> None:
    line = "train --resume NOWHERE --method.segmentor-optimizer.lr 0.0001 --skip-step --force"
    with pytest.raises(InputError, match="NOWHERE is not a run folder"):  # the options are right
        dispatch._dispatch(line.split())
