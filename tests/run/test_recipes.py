"""Shipped recipes: valid, with the papers' values, and ablations that change what they name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from napari_uda.core.errors import InputError
from napari_uda.methods.registry import METHODS
from napari_uda.run.recipes import build_config, list_recipes
from napari_uda.run.run import read_yaml

RECIPES = list_recipes()
DIRECTIONS = ("ct2mr", "mr2ct")
ABLATIONS: dict[str, dict[str, Any]] = {
    "table2_adv": {
        "entropy_minimisation_weight": 0,
        "entropy_maximisation_weight": 0,
        "prototype_weight": 0,
    },
    "table2_adv_sent": {"prototype_weight": 0},
    "table2_adv_pro": {"entropy_minimisation_weight": 0, "entropy_maximisation_weight": 0},
    "table2_all": {},
    "table3_entmin_all": {"entropy_minimisation_on": "all", "entropy_maximisation_weight": 0},
    "table3_entmin_reliable": {"entropy_maximisation_weight": 0},
    "table3_entmin_entmax": {},
    "table4_all_pixels": {"prototype_mask": False},
    "table4_reliable": {},
}
OTHER_NETWORKS = ("attent", "cyclegan", "synseg_net", "cycada", "sifa", "pnp_adanet", "crst", "ebm")
"""Papers with networks, or with rates, of their own."""
PAPER = sorted(
    name
    for name in RECIPES
    if name.startswith(("se_asa_", "advent_warmup_", "mpscl_"))
    or (name.endswith("_paper") and not name.startswith(OTHER_NETWORKS))
)
TRANSLATION = ("attent_paper", "attent_translator_paper", "cyclegan_paper")
ATTENT_ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "attent_table2_source_only": ("source_only", {}),
    "attent_table2_cyclegan": ("cyclegan", {"segment": "translated_target"}),
    "attent_table2_pixel_space": (
        "cyclegan",
        {"segment": "translated_target", "translator.generator.kind": "gated"},
    ),
    "attent_table2_feature_space": ("adaptsegnet", {}),
    "attent_table2_entropy_space": ("advent", {}),
    "attent_table2_attent": ("attent", {}),
}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def _settings(recipe: str, method: str = "") -> dict[str, Any]:
    return _flat(build_config(method, recipe=recipe).model_dump(mode="json"))


def _methods_of(recipe: str) -> list[str]:
    named = read_yaml(RECIPES[recipe]).get("method", {}).get("name")
    return [named] if named else list(METHODS)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_valid_for_its_methods(recipe: str) -> None:
    for method in _methods_of(recipe):
        config = build_config(method, recipe=recipe)
        assert config.method.name == method
        if set(_methods_of(recipe)) == {method}:
            assert build_config(recipe=recipe) == config


@pytest.mark.parametrize(
    "recipe", sorted(RECIPES.keys() - {"attent_protocol", "cpu_small", "demo"})
)
def test_every_recipe_sets_what_it_says(recipe: str) -> None:
    """Not so those whose parts for single methods overrule their common part."""
    said = _flat(read_yaml(RECIPES[recipe]))
    settings = _settings(recipe, _methods_of(recipe)[0])
    assert {name: settings[name] for name in said} == said


@pytest.mark.parametrize("recipe", PAPER)
def test_paper_recipes_share_network_optimiser_and_batch(recipe: str) -> None:
    config = build_config(recipe=recipe)
    optimizer = config.method.segmentor_optimizer
    assert config.segmentor.name == "deeplabv2_resnet101"
    assert config.data.size == 256
    assert config.batch_size == 4
    assert (optimizer.kind, optimizer.lr, optimizer.momentum) == ("sgd", 2.5e-4, 0.9)
    assert optimizer.weight_decay == 5e-4
    assert config.method.lr_power == 0.9
    assert (config.method.aux_weight, config.method.ce_weight) == (0.1, 1.0)
    of_se_asa = not recipe.startswith(("adaptsegnet", "advent_paper", "minent"))
    assert config.method.dice_weight == of_se_asa
    assert config.method.ce_class_weights == of_se_asa


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_se_asa_has_the_values_of_the_paper(direction: str) -> None:
    settings = _settings(f"se_asa_{direction}")
    expected = {
        "steps": 50_000,
        "data.axis": "y",
        "data.neighbours": 1,
        "method.adversary.main_weight": 0.003,
        "method.adversary.aux_weight": 2e-5,
        "method.adversary.discriminator": "patch_bn",
        "method.adversary.width": 64,
        "method.adversary_input": "self_information",
        "method.discriminator_optimizer.kind": "adam",
        "method.discriminator_optimizer.lr": 1e-4,
        "method.discriminator_optimizer.momentum": 0.9,
        "method.discriminator_optimizer.beta2": 0.99,
        "method.entropy_minimisation_weight": 1.0,
        "method.entropy_maximisation_weight": 1.0,
        "method.entropy_minimisation_on": "reliable",
        "method.entropy_view": "last_random",
        "method.prototype_weight": 1.0,
        "method.prototype_momentum": 0.01,
        "method.prototype_mask": True,
        "method.reliability.views": 3,
        "method.reliability.fourier_mu": 0.8,
        "method.reliability.fourier_half_width": 2,
        "method.reliability.fourier_mode": "mix",
        "method.warmup_steps": 0,
    }
    assert {name: settings[name] for name in expected} == expected


CRST_ROWS: dict[str, dict[str, Any]] = {
    "crst_cbst": {"kl_weight": 0.0},
    "crst_lrent": {"kl_weight": 0.0, "labels.alpha": 0.25},
}


@pytest.mark.parametrize("row", CRST_ROWS)
def test_rows_of_crst_change_what_they_name(row: str) -> None:
    plain, settings = _settings("crst_paper"), _settings(f"crst_paper,{row}")
    changed = {name: value for name, value in settings.items() if value != plain[name]}
    assert changed == {f"method.{name}": value for name, value in CRST_ROWS[row].items()}


def test_ebm_has_the_settings_of_crst() -> None:
    ebm, crst = _settings("ebm_paper"), _settings("crst_paper")
    own = {name: value for name, value in ebm.items() if value != crst.get(name)}
    assert own == {
        "method.name": "ebm",
        "method.energy_weight": 0.05,
        "method.energy_form": "raw",
    }


def test_mpscl_differs_by_direction_as_published() -> None:
    first, second = (_settings(f"mpscl_{direction}") for direction in DIRECTIONS)
    warm_up = [_settings(f"advent_warmup_{direction}") for direction in DIRECTIONS]
    names = ("method.adversary.discriminator", "data.source_intensity.z_range")
    for own, start in zip((first, second), warm_up, strict=True):
        assert own["data.source_intensity.z_range"] == start["data.source_intensity.z_range"]
        assert own["data.target_intensity.z_range"] == start["data.target_intensity.z_range"]
    changed = {
        name: (value, second[name]) for name, value in first.items() if value != second[name]
    }
    assert {name: changed[name] for name in changed if name.startswith("method.")} == {
        names[0]: ("patch_bn", "fc"),
        "method.source_temperature": (2.0, 1.0),
        "method.source_margin": (0.2, 0.4),
    }


SFDA_ROWS: dict[str, dict[str, Any]] = {
    "sfda_adaent": {"divergence": "adaent"},
    "sfda_entropy_only": {"prior_weight": 0.0},
    "sfda_kl_only": {"entropy_weight": 0.0},
    "sfda_no_tag": {"presence": "all"},
    "sfda_select": {"presence": "select"},
    "sfda_proposals": {"presence": "proposals"},
    "sfda_batch_statistics": {"batch_norm": "batch"},
}


@pytest.mark.parametrize("row", SFDA_ROWS)
def test_a_row_of_sfda_differs_in_the_named_field_only(row: str) -> None:
    full, changed = _settings("cpu_small", "sfda"), _settings(f"cpu_small,{row}")
    named = {f"method.{name}": value for name, value in SFDA_ROWS[row].items()}
    assert changed == full | named
    assert all(full[name] != value for name, value in named.items())


@pytest.mark.parametrize(
    ("part", "lr", "decay", "size"),
    [
        ("cardiac", 1e-6, 1e-3, {"MYO": 4428, "LAC": 4996, "LVC": 4487, "AA": 3706}),
        ("prostate", 1e-6, 1e-4, {"prostate": 8000}),
        ("spine", 3e-5, 1e-4, {"disc": 579}),
    ],
)
def test_sfda_has_the_values_of_the_paper(
    part: str, lr: float, decay: float, size: dict[str, float]
) -> None:
    config = build_config(recipe=f"sfda_paper_{part}")
    method: Any = config.method
    assert config.batch_size == 24
    assert (method.segmentor_optimizer.kind, method.segmentor_optimizer.lr) == ("adam", lr)
    assert method.segmentor_optimizer.weight_decay == decay
    assert (method.entropy_weight, method.prior_weight, method.ratio_floor) == (1, 1, 1e-10)
    assert (method.divergence, method.ratio, method.batch_norm) == ("adami", "mean", "adapt")
    assert (method.prior_sizes, method.given_sizes) == ("pixels", size)
    assert sum(method.given_class_weights.values()) == pytest.approx(1)


def test_sfda_starts_from_its_source_model() -> None:
    source, adapted = _settings("sfda_source_cardiac"), _settings("sfda_paper_cardiac")
    shared = [n for n in source if n.startswith(("segmentor.", "data.")) and "intensity" not in n]
    assert {n: source[n] for n in shared} == {n: adapted[n] for n in shared}
    assert source["method.dice_weight"] == 0


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_intensities_follow_the_direction(direction: str) -> None:
    ranges = {"ct": [-2.8, 3.2], "mr": [-1.8, 4.4]}
    source, target = direction.split("2")
    for recipe in (f"se_asa_{direction}", f"advent_warmup_{direction}", f"mmwhs_{direction}"):
        settings = _settings(recipe, "" if recipe in PAPER else "advent")
        assert settings["data.source_intensity.mode"] == "zscore"
        assert settings["data.source_intensity.z_range"] == ranges[source]
        assert settings["data.target_intensity.z_range"] == ranges[target]


@pytest.mark.parametrize(("direction", "steps"), [("ct2mr", 30_000), ("mr2ct", 5_000)])
def test_the_warm_up_hands_its_discriminators_to_se_asa(direction: str, steps: int) -> None:
    warmup, main = _settings(f"advent_warmup_{direction}"), _settings(f"se_asa_{direction}")
    assert warmup["steps"] == steps
    assert warmup["method.entropy_weight"] == 0
    shared = {
        name
        for name in warmup.keys() & main.keys()
        if name.startswith(("method.adversary", "method.disc", "data", "segmentor", "augment"))
    }
    assert "method.adversary.discriminator" in shared
    assert {name: warmup[name] for name in shared} == {name: main[name] for name in shared}


@pytest.mark.parametrize(
    ("recipe", "adversary", "entropy", "steps"),
    [
        ("adaptsegnet_paper", (1e-3, 2e-4), None, 50_000),
        ("advent_paper", (1e-3, 2e-4), (0, 0), 50_000),
        ("minent_paper", (0, 0), (1e-3, 2e-4), 50_000),
        ("source_only_paper", None, None, 5_000),
        ("target_supervised_paper", None, None, 5_000),
    ],
)
def test_baselines_have_the_weights_of_their_papers(
    recipe: str,
    adversary: tuple[float, float] | None,
    entropy: tuple[float, float] | None,
    steps: int,
) -> None:
    settings = _settings(recipe)
    assert settings["steps"] == steps
    if adversary is not None:
        assert (settings["method.ce_class_weights"], settings["method.dice_weight"]) == (False, 0)
    for wanted, names in (
        (adversary, ("method.adversary.main_weight", "method.adversary.aux_weight")),
        (entropy, ("method.entropy_weight", "method.entropy_aux_weight")),
    ):
        found = tuple(settings.get(name) for name in names)
        assert found == (wanted if wanted is not None else (None, None))


def test_every_row_of_the_tables_has_a_recipe() -> None:
    assert {name for name in RECIPES if name.startswith("table")} == ABLATIONS.keys()


@pytest.mark.parametrize("base", ["se_asa_ct2mr", "se_asa_mr2ct", "cpu_small"])
@pytest.mark.parametrize("row", ABLATIONS)
def test_a_table_row_differs_from_the_full_method_in_the_named_fields_only(
    row: str, base: str
) -> None:
    full, ablated = _settings(base, "se_asa"), _settings(f"{base},{row}")
    named = {f"method.{name}": value for name, value in ABLATIONS[row].items()}
    assert ablated == full | named
    assert all(full[name] != value for name, value in named.items())


def test_later_recipes_win_and_settings_win_over_them(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("steps: 7\nper_method: {se-asa: {seed: 3, batch_size: 5}}\n")
    second.write_text("method: se_asa\nbatch_size: 6\n")
    config = build_config(recipe=f"{first},{second}", data={"size": 64})
    assert (config.steps, config.seed, config.batch_size, config.data.size) == (7, 3, 6, 64)
    turned = build_config(recipe=f"{second},{first}")
    assert turned.batch_size == 5


def test_recipes_of_two_methods_do_not_combine() -> None:
    with pytest.raises(InputError, match="is for advent, not se_asa"):
        build_config(recipe="se_asa_ct2mr,advent_warmup_ct2mr")


# --- AttENT and CycleGAN --------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", TRANSLATION)
def test_translation_has_the_values_of_the_papers(recipe: str) -> None:
    settings = _settings(recipe)
    expected = {
        "method.translator.generator.kind": "plain" if recipe == "cyclegan_paper" else "gated",
        "method.translator.generator.width": 64,
        "method.translator.generator.blocks": 9,
        "method.translator.generator.gate_norm": "instance",
        "method.translator.generator.gate_factor": 2,
        "method.translator.loss": "ls",
        "method.translator.cycle_weight": 10,
        "method.translator.identity_weight": 5,
        "method.translator.pool_size": 50,
        "method.translator.batch_size": 1,
        "method.ce_weight": 1,
        "method.ce_class_weights": False,
        "method.dice_weight": 0,
        "method.aux_weight": 0.1,
        "method.lr_power": 0,
        "method.segmentor_optimizer.kind": "adam",
        "method.segmentor_optimizer.lr": 1e-4,
    }
    for player in ("generator_optimizer", "discriminator_optimizer"):
        values = {"kind": "adam", "lr": 2e-4, "momentum": 0.5, "beta2": 0.999}
        expected |= {f"method.translator.{player}.{k}": v for k, v in values.items()}
    assert {name: settings[name] for name in expected} == expected


def test_stage_b_of_attent_goes_on_from_stage_a() -> None:
    first, second = _settings("attent_translator_paper"), _settings("attent_paper")
    assert (second["method.translation_steps"], second["method.keep_segmentor"]) == (0, False)
    assert (first["steps"], first["batch_size"]) == (10_000, 1)
    assert (second["steps"], second["batch_size"]) == (3_200, 8)
    shared = [
        n for n in first if n.startswith(("data.", "augment.", "method.translator.generator."))
    ]
    assert len(shared) > 10
    assert {n: first[n] for n in shared} == {n: second[n] for n in shared}
    adversary = (second["method.adversary.main_weight"], second["method.adversary.aux_weight"])
    assert adversary == (1e-3, 2e-4)
    assert second["method.adversary.discriminator"] == "fc"


def test_every_row_of_attents_table_has_a_recipe() -> None:
    rows = {name for name in RECIPES if name.startswith("attent_table")}
    assert rows == ATTENT_ROWS.keys()


@pytest.mark.parametrize("base", ["attent_protocol", "cpu_small"])
@pytest.mark.parametrize("row", ATTENT_ROWS)
def test_a_row_of_attents_table_is_its_method_with_the_named_fields(row: str, base: str) -> None:
    method, named = ATTENT_ROWS[row]
    full, ablated = _settings(base, method), _settings(f"{base},{row}")
    assert ablated == full | {f"method.{name}": value for name, value in named.items()}


def test_rows_of_attents_table_differ_in_translation_and_alignment_alone() -> None:
    rows = {row: _settings(f"attent_protocol,{row}") for row in ATTENT_ROWS}
    alike = [
        n
        for n in rows["attent_table2_source_only"]
        if n != "method.name"  # every other setting of source_only is one that all methods have
    ]
    for settings in rows.values():
        assert {n: settings[n] for n in alike} == {
            n: rows["attent_table2_source_only"][n] for n in alike
        }
    attent = rows["attent_table2_attent"]
    pixel, plain = rows["attent_table2_pixel_space"], rows["attent_table2_cyclegan"]
    translator = [n for n in attent if n.startswith("method.translator.")]
    assert {n: attent[n] for n in translator} == {n: pixel[n] for n in translator}
    assert {n for n in pixel if pixel[n] != plain[n]} == {"method.translator.generator.kind"}
    aligned = [n for n in attent if n.startswith("method.adversary.")]
    for row in ("attent_table2_feature_space", "attent_table2_entropy_space"):
        assert {n: attent[n] for n in aligned} == {n: rows[row][n] for n in aligned}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_intensities_of_the_abdomen_follow_the_direction(direction: str) -> None:
    settings = _settings(f"attent_paper,abdomen_{direction}")
    for side, domain in zip(("source", "target"), direction.split("2"), strict=True):
        mode = settings[f"data.{side}_intensity.mode"]
        assert mode == ("window" if domain == "ct" else "percentile")
    ct = "source" if direction == "ct2mr" else "target"
    assert settings[f"data.{ct}_intensity.window"] == [-350, 350]


def test_a_nested_setting_given_in_part_keeps_the_rest() -> None:
    """As on the command line, where each option is one field."""
    full = build_config("sfda").method.segmentor_optimizer
    part = build_config("sfda", method={"segmentor_optimizer": {"lr": 1e-5}})
    assert part.method.segmentor_optimizer == full.model_copy(update={"lr": 1e-5})
    gated = build_config("advent", method={"adversary": {"main_weight": 0.5}}).method.adversary
    assert (gated.main_weight, gated.discriminator) == (0.5, "fc")
    moved = build_config("source_only", augment={"spatial": {"rotation_deg": 10}}).augment.spatial
    assert (moved.rotation_deg, moved.scale, moved.shear, moved.shift) == (10, 0, 0, 0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"data": {"patient_pattern": "(a"}}, "data.patient_pattern is no regular expression"),
        ({"method": {"reliability": {"blur_sigma": [3, -1]}}}, "must be two numbers from 0"),
        ({"data": {"source_intensity": {"window": [9, 1]}}}, "give the lower value first"),
    ],
)
def test_values_that_belong_together_are_checked(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        build_config("se_asa", **settings)
