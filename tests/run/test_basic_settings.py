"""Settings that come first, and those that do nothing with a method: checked by training without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from method_cases import bench
from tiny_cases import assert_same_tensors, snapshot

from napari_uda.methods.registry import METHODS
from napari_uda.run.basic_settings import basic_settings, unused_settings
from napari_uda.run.recipes import build_config

LEARNING_RATE = "method.segmentor_optimizer.lr"
OTHER_VALUES: dict[str, Any] = {
    "ce_weight": 3.0,
    "ce_class_weights": False,
    "dice_weight": 2.0,
    "corrected_weight": 0.3,
    "lr_power": 0.1,
    "backbone_lr_multiplier": 5.0,
    "aux_weight": 0.7,
    "segmentor_optimizer": {"kind": "adam", "lr": 0.1},
}


def unused_of_method(name: str) -> set[str]:
    """Own settings of a method, without those inside another one."""
    paths = unused_settings(build_config(name))
    return {path.split(".")[1] for path in paths if path.startswith("method.")}


@pytest.mark.parametrize("name", [name for name in METHODS if unused_of_method(name)])
def test_unused_settings_change_nothing(
    name: str, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    others = {key: OTHER_VALUES[key] for key in unused_of_method(name)}
    for part in ("as_it_is", "changed"):
        (tmp_path / part).mkdir()
    stand = bench(name, two_domains, tmp_path / "as_it_is")
    changed = bench(name, two_domains, tmp_path / "changed", method=others)
    for _ in range(3):
        stand.step()
        changed.step()
    assert_same_tensors(snapshot(stand.method), snapshot(changed.method))


def test_a_method_without_training_shows_neither_steps_nor_a_learning_rate() -> None:
    config = build_config("bn_adapt")
    assert {"steps", LEARNING_RATE, "augment.intensity"} <= set(unused_settings(config))
    assert basic_settings(config) == ["batch_size", "data.size", "segmentor.name", "device", "seed"]


@pytest.mark.parametrize("name", ["tent", "sfda"])
def test_a_method_that_reads_no_labels_shows_no_weights_of_them(name: str) -> None:
    unused = unused_settings(build_config(name))
    assert {"method.ce_weight", "method.dice_weight", "validate_every"} <= set(unused)
    assert LEARNING_RATE in basic_settings(build_config(name))


def test_scores_that_are_asked_for_in_vain_can_be_seen() -> None:
    config = build_config("tent", validate_every=5)
    assert "validate_every" in basic_settings(config)


@pytest.mark.parametrize("name", ["source_only", "se_asa", "mean_teacher"])
def test_a_method_with_a_supervised_loss_uses_all(name: str) -> None:
    assert unused_settings(build_config(name)) == []
