"""What somebody probably meant by a name that does not exist: a method, a recipe, an option."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from napari_uda.core.errors import InputError

_ALIKE = 0.7
"""Share of letters in common (difflib's ratio) from which two names are taken for each other."""
_AS_GOOD = 0.1
"""How much less alike a second suggestion may be than the first."""
_MOST = 3


def near(given: str, known: Iterable[str]) -> list[str]:
    """The known names that look like the given one, the nearest first, at most three."""
    plain = {name.replace("-", "_").lower(): name for name in known}
    wanted = given.strip().replace("-", "_").lower()
    return [plain[name] for name in difflib.get_close_matches(wanted, plain, _MOST, _ALIKE)]


def what_to_choose(given: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that does not exist.

    Returns:
        `did you mean se_asa?`, or `choose one of advent, se_asa` where nothing is near.
    """
    names = list(known)
    found = near(given, names)
    return f"did you mean {listed(found)}?" if found else f"choose one of {', '.join(names)}"


def check_choice(name: str, given: object, known: Iterable[str]) -> None:
    """Refuse a word that is none of those that an argument knows.

    Raises:
        InputError: naming the argument, the word and what it may be.
    """
    words = list(known)
    if given not in words:
        raise InputError(f"{name} cannot be {given!r}; {what_to_choose(str(given), words)}")


def near_option(given: str, known: Sequence[str]) -> list[str]:
    """The options, or the settings by path, that somebody may have meant, at most three.

    Nested settings are options with dots. Whoever knows the last part alone, `--lr` or `--size`, is told
    where it belongs; otherwise the names that look alike are taken, as wholes and by their last parts.

    Args:
        given: an option that does not exist, such as `--lr`, or a setting, such as `sizes`.
        known: those that exist, such as `--method.segmentor-optimizer.lr`, or `data.size`.
    """
    wanted = _plain(given)
    tail = wanted.rpartition(".")[2]
    same = [option for option in known if _plain(option).rpartition(".")[2] == tail]
    if same:
        return sorted(same, key=lambda option: option.count("."))[:_MOST]
    scored = []
    for option in known:
        name = _plain(option)
        last = name.rpartition(".")[2]
        alike = max(_ratio(wanted, name), _ratio(tail, last))
        if alike >= _ALIKE:
            scored.append((-alike, name.count("."), option))
    best = min(scored, default=(0,))[0]
    return [option for alike, _, option in sorted(scored) if alike <= best + _AS_GOOD][:_MOST]


def listed(names: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def _plain(option: str) -> str:
    return option.lstrip("-").replace("_", "-").lower()


def _ratio(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()
