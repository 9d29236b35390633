"""MM-WHS 2017 as downloaded: `ct_train_1001_image.nii.gz` beside `ct_train_1001_label.nii.gz`, CT and MR.

Zhuang and Shen, Medical Image Analysis 31, 2016. The challenge's test volumes (`ct_test_2001_image`)
have no label maps and are passed over.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from napari_uda.convert.files import by_case, no_label, nothing_found, read_pair, walk
from napari_uda.convert.layout import FoundCase

_FILE = re.compile(r"(ct|mr)_train_(\d+)_(image|label)\.nii(\.gz)?", re.IGNORECASE)


def find_cases(source: Path) -> list[FoundCase]:
    """The training cases below `source`, in whatever folders."""
    files = [(file, match) for file in walk(source) if (match := _FILE.fullmatch(file.name))]
    images, labels = (
        by_case(((m[1].lower(), m[2]), file) for file, m in files if m[3].lower() == kind)
        for kind in ("image", "label")
    )
    if not images:
        raise nothing_found(source, "files such as ct_train_1001_image.nii.gz")
    cases = []
    for (domain, number), image in images.items():
        label = labels.get((domain, number))
        if label is None:
            raise no_label(image, f"{domain}_train_{number}_label.nii.gz")
        name = f"mmwhs_{domain}_{number}"
        read = partial(read_pair, image, label)
        cases.append(FoundCase(domain, name, number, label.name, read))
    return cases
