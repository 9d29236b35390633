"""Prostate T2 MR of six sites, the release of SAML: `RUNMC/Case00.nii.gz` beside `Case00_segmentation.nii.gz`.

Liu, Dou and Heng, MICCAI 2020. Where a site tells zones apart they are joined; `segmentation` is
spelt with either capital. Every site is a domain.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from napari_uda.convert.files import by_case, no_label, nothing_found, read_pair, walk
from napari_uda.convert.layout import FoundCase

_FILE = re.compile(r"case(\d+)(_segmentation)?\.nii(\.gz)?", re.IGNORECASE)
_SITES = ("runmc", "bmc", "i2cvb", "ucl", "bidmc", "hk")


def find_cases(source: Path) -> list[FoundCase]:
    """The cases below `source`; the folder a case lies in names its site."""
    files = [
        ((site, match[1]), file, bool(match[2]))
        for file in walk(source)
        if (match := _FILE.fullmatch(file.name))
        and (site := file.absolute().parent.name.lower()) in _SITES
    ]
    images = by_case((case, file) for case, file, is_label in files if not is_label)
    labels = by_case((case, file) for case, file, is_label in files if is_label)
    if not images:
        raise nothing_found(source, f"the sites {', '.join(map(str.upper, _SITES))} as folders")
    cases = []
    for (site, number), image in images.items():
        label = labels.get((site, number))
        if label is None:
            raise no_label(image, f"Case{number}_segmentation.nii.gz of site {site.upper()}")
        read = partial(read_pair, image, label)
        cases.append(FoundCase(site, f"{site}_case{number}", number, label.name, read))
    return cases
