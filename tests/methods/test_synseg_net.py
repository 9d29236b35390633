"""What is particular to synseg_net: how far its supervised loss reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from method_cases import CPU, Bench, bench
from tiny_cases import assert_same_tensors, changed, snapshot
from torch import Tensor

from napari_uda.losses.reach import scaled_gradient

Domains = tuple[Path, Path]
UNCHECKED = {"translator": {"structure_every": 0}}


def _stand(domains: Domains, cache: Path, weight: float, **settings: Any) -> Bench:
    method = {**UNCHECKED, "segmentation_weight": weight}
    return bench("synseg_net", domains, cache, method=method, **settings)


def test_a_gradient_is_scaled_and_its_values_are_not() -> None:
    values = torch.tensor([1e-3, 0.3, -7.0], requires_grad=True)
    for weight in (0.25, 1.0, 3.0):
        scaled = scaled_gradient(values, weight)
        assert torch.equal(scaled, values)
        (gradient,) = torch.autograd.grad(scaled.square().sum(), values)
        torch.testing.assert_close(gradient, weight * 2 * values.detach())
    assert not scaled_gradient(values, 0.0).requires_grad


def test_without_the_weight_it_is_cyclegan(two_domains: Domains, tmp_path: Path) -> None:
    stand = _stand(two_domains, tmp_path, 0.0, clip_norm=1.0)
    cyclegan = {"translator": {"structure_every": 0, "identity_weight": 0}}
    other = bench("cyclegan", two_domains, tmp_path, method=cyclegan, clip_norm=1.0)
    for _ in range(3):
        assert stand.step() == other.step()
    assert_same_tensors(snapshot(stand.method), snapshot(other.method))


@pytest.mark.parametrize("neighbours", [1, 3])
def test_the_supervised_loss_reaches_one_generator(
    neighbours: int, two_domains: Domains, tmp_path: Path
) -> None:
    """With the weight twice as large its gradient in G_st is, too; in G_ts there is none."""
    gradients: list[dict[str, Tensor]] = []
    for weight in (1.0, 2.0):
        stand = _stand(two_domains, tmp_path, weight, data={"neighbours": neighbours})
        found: dict[str, Tensor] = {}

        def only_segmentation(
            terms: dict[str, Tensor],
            *players: str,
            stand: Bench = stand,
            found: dict[str, Tensor] = found,
        ) -> dict[str, Tensor]:
            if "segmentation" in terms:
                assert set(players) == {"generators", "segmentor"}
                names, tensors = zip(*stand.method.named_parameters(), strict=True)
                of_loss = torch.autograd.grad(
                    terms["segmentation"], tensors, retain_graph=True, allow_unused=True
                )
                found |= {n: g for n, g in zip(names, of_loss, strict=True) if g is not None}
            return {name: term.detach() for name, term in terms.items()}

        stand.runtime.minimise = only_segmentation  # type: ignore[method-assign,assignment]
        logs = stand.step()
        assert logs["segmentation_of_generators"] == weight * logs["segmentation"]
        gradients.append(found)
    one, two = gradients
    reached = {name.split(".")[0] for name in one if not name.startswith("translator.")}
    assert reached == {"segmentor"}
    generators = {n for n in one if n.startswith("translator.") and float(one[n].abs().max()) > 0}
    assert generators
    assert all(n.startswith("translator.generators.source_to_target.") for n in generators)
    for name, gradient in one.items():
        factor = 2 if name in generators else 1  # the segmentor learns the same
        torch.testing.assert_close(two[name], factor * gradient, rtol=1e-4, atol=1e-7)


def test_generators_of_fewer_slices_leave_the_others_to_the_segmentor(
    two_domains: Domains, tmp_path: Path
) -> None:
    method = {"translator": {"structure_every": 0, "batch_size": 1}}
    stand = bench("synseg_net", two_domains, tmp_path, method=method)
    source = stand.data.batch(0, CPU).labelled().image
    translator = stand.method.translator
    with torch.no_grad():
        expected = translator.translate(source, "source_to_target")
    seen: list[Tensor] = []
    stand.method.segmentor.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    before = snapshot(stand.method)
    stand.step()
    (images,) = seen
    assert images.requires_grad
    torch.testing.assert_close(images.detach(), expected)
    moved = changed(before, stand.method)
    assert any(name.startswith("translator.generators.source_to_target") for name in moved)
