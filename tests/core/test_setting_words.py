"""Settings in words: what a form says for the path that a file has."""

from __future__ import annotations

import pytest

from napari_uda.core.setting_paths import leaves
from napari_uda.core.setting_words import setting_title
from napari_uda.methods.registry import METHODS
from napari_uda.run.basic_settings import basic_settings
from napari_uda.run.recipes import build_config


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("method.segmentor_optimizer.lr", "learning rate of the segmentor"),
        ("method.translator.generator_optimizer.lr", "learning rate of the generators"),
        ("method.adversary.main_weight", "weight of main head (adversary)"),
        ("method.entropy_minimisation_weight", "weight of lowering entropy"),
        ("data.size", "size of a slice (pixels)"),
        ("data.pixel_mm", "pixel (mm)"),
        ("sizes_ml", "sizes (mL)"),
        ("data.cache_gib", "cache (GiB)"),
        ("augment.spatial.rotation_deg", "rotation (°)"),
        ("method.prototype_mask", "prototype mask"),
    ],
)
def test_titles(path: str, title: str) -> None:
    assert setting_title(path) == title


def test_below_a_heading_the_owner_is_not_said_again() -> None:
    assert setting_title("method.discriminator_optimizer.lr", grouped=True) == "learning rate"


@pytest.mark.parametrize("method", list(METHODS))
def test_titles_of_a_form_are_words_and_differ(method: str) -> None:
    config = build_config(method)
    titles = [setting_title(path) for path in basic_settings(config)]
    assert len(set(titles)) == len(titles)
    every = [setting_title(path) for path, _, _ in leaves(config)]
    assert not [title for title in every if "_" in title or "." in title or " lr" in f" {title} "]
