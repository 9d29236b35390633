"""IVDM3Seg (MICCAI 2018), lumbar discs in Dixon MR: `01/01_wat.nii`, `_inn`, `_opp`, `_fat` and `01_Labels.nii`.

The four contrasts are the same subjects on the same grid, so a split must go by subject: cases carry
the same name in every domain.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from napari_uda.convert.files import by_case, no_label, nothing_found, read_pair, walk
from napari_uda.convert.layout import FoundCase

_FILE = re.compile(r"(\d+)_(wat|inn|opp|fat|labels)\.nii(\.gz)?", re.IGNORECASE)
_DOMAINS = {"wat": "water", "inn": "inphase", "opp": "opposed", "fat": "fat"}


def find_cases(source: Path) -> list[FoundCase]:
    """The cases below `source`; copies outside the subjects' folders count only where there are none."""
    files = [(file, match) for file in walk(source) if (match := _FILE.fullmatch(file.name))]
    own = [(file, match) for file, match in files if file.absolute().parent.name == match[1]]
    named = [(match[1], match[2].lower(), file) for file, match in own or files]
    images = by_case(
        ((_DOMAINS[kind], number), file) for number, kind, file in named if kind in _DOMAINS
    )
    labels = by_case((number, file) for number, kind, file in named if kind == "labels")
    if not images:
        raise nothing_found(source, "files such as 01/01_wat.nii")
    cases = []
    for (domain, number), image in images.items():
        label = labels.get(number)
        if label is None:
            raise no_label(image, f"{number}_Labels.nii")
        read = partial(read_pair, image, label)
        key = f"{int(number):02d}"
        cases.append(FoundCase(domain, f"subject_{key}", key, label.name, read))
    return cases
