#!/usr/bin/env bash
# MONAI 1.6.1: a case in which the organ was missed drops out of the mean HD95, and an invented one out of the mean Dice.
#
# One would guess: a prediction that misses the organ makes the mean distance of a cohort worse, and one that invents an
#   organ makes the mean Dice worse.
# What happens: the Hausdorff distance of a missed organ is infinite, but with `percentile=95` it is NaN, and the mean
#   leaves NaN out: of a good case and a total miss remains the good case. The Dice of an invented organ is NaN as well,
#   because `ignore_empty` is on unless it is turned off. Nothing but the count of `get_not_nans=True` shows it.
# Seen (MONAI 1.6.1, torch 2.13.0, CPU, Python 3.11, Linux), two cases, the first one a ball shifted by a voxel:
#   HD95, second organ missed: [1.0, nan], mean 1.0 of 1
#   HD, second organ missed: [1.0, inf], mean inf of 2
#   Dice, second organ invented: [0.878, nan], mean 0.878 of 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    monai==1.6.1 torch==2.13.0 numpy==2.4.6 scipy==1.17.1
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import math

import torch
from monai.metrics import DiceMetric, HausdorffDistanceMetric


def ball(z):
    axes = torch.meshgrid(*[torch.arange(24)] * 3, indexing="ij")
    return ((axes[0] - z) ** 2 + (axes[1] - 12) ** 2 + (axes[2] - 12) ** 2 <= 36).float()


def scored(text, metric, predictions, references):
    cases = [round(v.item(), 3) for v in metric(torch.stack(predictions)[:, None], torch.stack(references)[:, None])]
    mean, count = (v.item() for v in metric.aggregate())
    print(f"{text}: {cases}, mean {round(mean, 3)} of {int(count)}")
    return cases, round(mean, 3), count


organ, prediction = ball(12), ball(13)
nothing = torch.zeros_like(organ)
mean = {"include_background": True, "reduction": "mean", "get_not_nans": True}

missed, invented = ([prediction, nothing], [organ, organ]), ([prediction, prediction], [organ, nothing])
hd95 = scored("HD95, second organ missed", HausdorffDistanceMetric(percentile=95, **mean), *missed)
hd = scored("HD, second organ missed", HausdorffDistanceMetric(**mean), *missed)
dice = scored("Dice, second organ invented", DiceMetric(**mean), *invented)
assert math.isnan(hd95[0][1]), "HD95 of a missed organ is no longer NaN"
assert hd95[1:] == (1, 1)
assert hd == ([1, math.inf], math.inf, 2)
assert math.isnan(dice[0][1]), "Dice of an invented organ is no longer NaN"
assert dice[1:] == (0.878, 1)
PYTHON
