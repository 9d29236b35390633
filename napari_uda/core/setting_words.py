"""How a setting is called where people read it: words with its unit, instead of the path that files have."""

from __future__ import annotations

_UNITS = {"_mm": " (mm)", "_deg": " (°)", "_gib": " (GiB)", "_ml": " (mL)"}
_WHOLE = {
    "data.size": "size of a slice (pixels)",
    "batch_size": "slices in a batch",
    "steps": "training steps",
    "segmentor.name": "network",
    "data.validation_fraction": "share of patients held out",
    "validate_every": "steps between scores",
    "save_every": "steps between checkpoints",
    "log_every": "steps between log lines",
    "preview_every": "steps between previews",
    "select": "which weights are kept",
    "clip_norm": "largest gradient norm",
}
"""Settings whose name says too little or too much."""
_LAST = {
    "lr": "learning rate",
    "lr_power": "power of the learning rate",
    "backbone_lr_multiplier": "faster learning of the backbone",
    "kind": "algorithm",
    "beta2": "second beta",
}
_OWNERS = {
    "segmentor_optimizer": "segmentor",
    "discriminator_optimizer": "discriminator",
    "generator_optimizer": "generators",
    "adversary": "adversary",
    "translator": "translator",
}
_OF_A_WEIGHT = {
    "ce": "cross-entropy",
    "dice": "Dice loss",
    "aux": "auxiliary head",
    "main": "main head",
    "prior": "size prior",
    "cycle": "cycle loss",
    "identity": "identity loss",
    "prototype": "prototypes",
    "entropy": "entropy",
    "entropy_aux": "entropy of the auxiliary head",
    "entropy_minimisation": "lowering entropy",
    "entropy_maximisation": "raising entropy",
}


def setting_title(path: str, *, grouped: bool = False) -> str:
    """A setting in words.

    Args:
        path: with dots, such as `method.segmentor_optimizer.lr`.
        grouped: whether a heading above it says already what it belongs to.

    Returns:
        For example "learning rate of the segmentor", and "learning rate" where it is grouped.
    """
    if path in _WHOLE:
        return _WHOLE[path]
    *above, last = path.split(".")
    title = _in_words(last)
    owner = _OWNERS.get(above[-1], "") if above and not grouped else ""
    return f"{title} of the {owner}" if owner and " of " not in title else _joined(title, owner)


def setting_words(path: str, between: str = " ") -> str:
    """All parts of a path as words, with the unit of the last one, as a heading or to be searched."""
    for ending, unit in _UNITS.items():
        if path.endswith(ending):
            path = path.removesuffix(ending) + unit
    return path.replace(".", between).replace("_", " ")


def _in_words(name: str) -> str:
    if name in _LAST:
        return _LAST[name]
    if name.endswith("_weight"):
        of = name.removesuffix("_weight")
        return f"weight of {_OF_A_WEIGHT.get(of, of.replace('_', ' '))}"
    return setting_words(name)


def _joined(title: str, owner: str) -> str:
    return f"{title} ({owner})" if owner else title
