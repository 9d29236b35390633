"""More steps for a finished run: which settings are kept, and that such a run trains."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from tiny_cases import small_config

from napari_uda.api import iterate
from napari_uda.core.errors import InputError
from napari_uda.run import checkpoint
from napari_uda.run.continuation import folder_for_more, more_steps
from napari_uda.run.run import Run

Domains = tuple[Path, Path]


def test_everything_but_the_start_is_kept(tiny_run: Run) -> None:
    config = more_steps(tiny_run, 3)
    old, new = tiny_run.config.model_dump(), config.model_dump()
    different = {name for name in old if old[name] != new[name]}
    assert different == {"steps", "seed", "init"}
    assert (config.steps, config.seed, config.init) == (3, 1, tiny_run.path)


def test_data_is_found_from_elsewhere(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "study" / "data" / "ct").mkdir(parents=True)
    run = Run(tmp_path / "study" / "runs" / "one", tiny_run.config)
    shutil.copytree(tiny_run.path, run.path)
    data = run.config.data.model_copy(update={"source": Path("data/ct"), "target": Path("data/mr")})
    run = Run(run.path, run.config.model_copy(update={"data": data}))
    monkeypatch.chdir(tmp_path)
    found = more_steps(run, 3).data
    assert found.source == tmp_path / "study" / "data" / "ct"
    assert found.target == Path("data/mr")  # nobody knows where it is: said as it was
    monkeypatch.chdir(tmp_path / "study")
    assert more_steps(run, 3).data.source == Path("data/ct")


def test_stages_are_over_and_networks_are_kept(two_domains: Domains, tmp_path: Path) -> None:
    settings = {"method": {"warmup_steps": 1, "keep_discriminators": False}}
    run = Run.create(tmp_path / "run", small_config("se_asa", *two_domains, steps=2, **settings))
    list(iterate(run))
    method = more_steps(run, 2).method.model_dump()
    assert (method["warmup_steps"], method["keep_discriminators"]) == (0, True)


@pytest.mark.parametrize("name", ["se_asa", "attent", "sfda"])
def test_a_continued_run_starts_from_the_weights(
    name: str, two_domains: Domains, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.create(tmp_path / "run", small_config(name, *two_domains, steps=2))
    list(iterate(run))
    before = (run.checkpoints / checkpoint.WEIGHTS).read_bytes()
    more = Run.create(folder_for_more(run.path), more_steps(run, 1))
    with caplog.at_level(logging.INFO, "napari_uda"):
        assert [p.step for p in iterate(more)] == [1]
    (taken,) = [m for m in caplog.messages if "tensors taken from run" in m]
    count, _, all_of_them, *_ = taken.split()
    # but for what belongs to the data: pools of translated slices, ratios of the target
    assert int(count) > 0.9 * int(all_of_them)
    assert not any("starts from new weights" in message for message in caplog.messages)
    assert (run.checkpoints / checkpoint.WEIGHTS).read_bytes() == before


def test_held_out_cases_stay_held_out(two_domains: Domains, tmp_path: Path) -> None:
    settings = {"data": {"validation_fraction": 0.34}, "seed": 5}
    run = Run.create(
        tmp_path / "run", small_config("source_only", *two_domains, steps=1, **settings)
    )
    list(iterate(run))
    more = Run.create(tmp_path / "more", more_steps(run, 1))
    list(iterate(more))
    assert more.config.seed == 5
    assert more.facts.source == run.facts.source


def test_what_cannot_be_continued(two_domains: Domains, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", small_config("source_only", *two_domains, steps=1))
    with pytest.raises(InputError, match="no weights"):
        more_steps(run, 1)
    with pytest.raises(InputError, match="the number of further steps is 0"):
        more_steps(run, 0)


def test_a_new_folder_beside_the_run(tmp_path: Path) -> None:
    assert folder_for_more(tmp_path / "a") == tmp_path / "a_more"
    (tmp_path / "a_more").mkdir()
    assert folder_for_more(tmp_path / "a") == tmp_path / "a_more2"
    assert folder_for_more(tmp_path / "a_more") == tmp_path / "a_more2"
    (tmp_path / "a_more2").mkdir()
    assert folder_for_more(tmp_path / "a_more2") == tmp_path / "a_more3"
    assert folder_for_more(tmp_path / "more_or_less").name == "more_or_less_more"
