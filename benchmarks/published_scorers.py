"""The score of `select` beside published ones that rank runs without target labels, on the phantoms of `label_free.py`.

    python benchmarks/published_scorers.py --out DIR [--pairs cardiac:ct:mr ...] [--seeds 0]

Runs of `label_free.py` are made, or used again, and all those of a pair scored on each of four volumes of other subjects. Published
scores, written from the papers for pixels in the place of images:

- entropy: less the mean entropy of all pixels (Morerio et al., ICLR 2018);
- infomax: mutual information, the entropy of the mean probabilities less the mean entropy (Shi & Sha, ICML 2012);
- snd: soft neighbourhood density, the mean entropy of how near each pixel's probabilities are to those of the
  others, at a temperature of 0.05 (Saito et al., ICCV 2021);
- dev: deep embedded validation, less the cross-entropy of labelled source pixels weighted by how much they look like
  target pixels in the network's features, with its control variate (You et al., ICML 2019). The source pixels are of
  four subjects that no run was trained on.

Prints Spearman's rank correlation with Dice over the (run, volume) pairs, and by how many points the run with the best
mean score is below the best run. The labels of the target are read for that alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import label_free
import numpy as np
import torch
import torch.nn.functional as F
from calibration import PAIRS, each_case, mean_dice, store_of
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from napari_uda.data.slices import SliceStore
from napari_uda.inference.loaded import LoadedRun
from napari_uda.losses.entropy import entropy_of_probabilities
from napari_uda.training.volume_score import score_case

NAMES = ("select", "entropy", "infomax", "snd", "dev")
PIXELS = 2000
TEMPERATURE = 0.05


def main() -> int:
    options = label_free.pairs_parser(__doc__, PAIRS).parse_args()
    torch.set_num_threads(1)
    print(f"{'':20} {'pairs':>5} " + " ".join(f"{name:>8}" for name in NAMES))
    for pair in label_free.trained_pairs(options):
        runs = [one for one in label_free.runs_in(pair.runs) if is_default(one.name)]
        told, true = zip(*(score_run(one, pair.source, pair.target) for one in runs), strict=True)
        report(pair.title, np.array(told), np.array(true))
    return 0


def is_default(name: str) -> bool:
    """Whether a run is none of `label_free.py --harsh`."""
    return not (name.startswith("long") or name.endswith(tuple(label_free.HARSH)))


@torch.no_grad()
def score_run(path: Path, source: Path, target: Path) -> tuple[list[list[float]], list[float]]:
    """Scores of each target volume, in the order of `NAMES`, and its Dice (%)."""
    loaded = LoadedRun.load(path, "cpu")
    labelled, unlabelled = store_of(loaded, source), store_of(loaded, target)
    known = pixels_of(loaded, labelled, np.arange(len(labelled)))
    told, true = [], []
    for case, (rows, truth) in enumerate(each_case(unlabelled)):
        probabilities, features, _ = pixels_of(loaded, unlabelled, rows)
        select = score_case(loaded.method, loaded.run.facts, unlabelled, case, loaded.device).score
        own = [entropy(probabilities), infomax(probabilities), neighbourhood_density(probabilities)]
        told.append([select, *own, -embedded_validation(known[1], known[2], features)])
        labels = loaded.method.predict(unlabelled.image(rows)).argmax(1).numpy()
        true.append(mean_dice(labels, truth, loaded.run.facts.num_classes))
    return told, true


def pixels_of(
    loaded: LoadedRun, store: SliceStore, rows: NDArray[np.int64]
) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities `(N, C)`, features `(N, F)` and cross-entropies `(N,)` of pixels spread evenly over some slices."""
    image = store.image(rows)
    logits = loaded.method.predict(image).float()
    features = loaded.method.segmentor(image).features.float()
    # features are of the size of the slice, or smaller
    features = F.interpolate(features, logits.shape[2:], mode="nearest")
    losses = F.cross_entropy(logits, store.label(rows), reduction="none").flatten()
    some = torch.linspace(0, len(losses) - 1, min(PIXELS, len(losses))).long()
    probabilities, features = (
        one.movedim(1, -1).flatten(0, 2)[some] for one in (logits.softmax(1), features)
    )
    return probabilities, features, losses[some]


def entropy(probabilities: Tensor) -> float:
    """Less the mean normalised entropy."""
    return -float(entropy_of_probabilities(probabilities).mean())


def infomax(probabilities: Tensor) -> float:
    """Entropy of the mean less the mean entropy, normalised."""
    whole = entropy_of_probabilities(probabilities.mean(0, keepdim=True))
    return float(whole.mean()) + entropy(probabilities)


def neighbourhood_density(probabilities: Tensor) -> float:
    """Mean entropy of the rows of `softmax(cosine / temperature)`, without a pixel's nearness to itself."""
    unit = F.normalize(probabilities, dim=1)
    nearness = (unit @ unit.T / TEMPERATURE).fill_diagonal_(-torch.inf).softmax(1)
    return float(torch.special.entr(nearness).sum(1).mean())


def embedded_validation(source: Tensor, losses: Tensor, target: Tensor) -> float:
    """Estimated loss on the target: source losses with density ratios as weights, and a control variate.

    Args:
        source: `(N, F)` features of labelled pixels.
        losses: `(N,)` of these.
        target: `(M, F)` features.
    """
    odds = target_odds(source, target)
    weights = odds * len(source) / len(target)
    weighted = weights * losses
    both = torch.cov(torch.stack([weighted, weights]))
    control = -both[0, 1] / both[1, 1].clamp_min(1e-12)
    return float(weighted.mean() + control * weights.mean() - control)


def target_odds(source: Tensor, target: Tensor) -> Tensor:
    """`(N,)` odds that each source pixel is one of the target, by logistic regression on standardised features."""
    both = torch.cat([source, target])
    scaled = (both - both.mean(0)) / both.std(0).clamp_min(1e-6)
    is_target = torch.cat([torch.zeros(len(source)), torch.ones(len(target))])
    with torch.enable_grad():
        weight = torch.zeros(scaled.shape[1] + 1, requires_grad=True)
        optimizer = torch.optim.LBFGS([weight], max_iter=50)

        def loss() -> Tensor:
            optimizer.zero_grad()
            logits = scaled @ weight[1:] + weight[0]
            value = F.binary_cross_entropy_with_logits(logits, is_target)
            value = value + 1e-3 * weight[1:].square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(loss)  # type: ignore[arg-type]
    return (scaled[: len(source)] @ weight[1:] + weight[0]).detach().clamp(-10, 10).exp()


def report(pair: str, told: NDArray[np.float64], true: NDArray[np.float64]) -> None:
    """Two lines; `told` is `(runs, volumes, scores)`, `true` `(runs, volumes)`."""
    rhos = [float(spearmanr(told[..., k].ravel(), true.ravel())[0]) for k in range(len(NAMES))]
    print(f"{pair:20} {true.size:5} " + " ".join(f"{one:8.2f}" for one in rhos))
    means = true.mean(1)
    chosen = told.mean(1).argmax(0)
    lost = " ".join(f"{means.max() - means[one]:8.1f}" for one in chosen)
    print(f"{'  points below best':20} {means.max():5.1f} {lost}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
