"""BTCV, "Beyond the Cranial Vault" on Synapse: `img0001.nii.gz` and `label0001.nii.gz`, abdominal CT.

Its 13 organs become liver, kidneys and spleen. The `Testing` folder has no label maps and is passed over.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from napari_uda.convert.files import by_case, no_label, nothing_found, read_pair, walk
from napari_uda.convert.layout import FoundCase

_FILE = re.compile(r"(img|label)(\d{4})\.nii(\.gz)?", re.IGNORECASE)


def find_cases(source: Path) -> list[FoundCase]:
    """The training cases below `source`, in whatever folders."""
    files = [
        (file, match)
        for file in walk(source)
        if (match := _FILE.fullmatch(file.name))
        and "testing" not in map(str.lower, file.relative_to(source).parts)
    ]
    images, labels = (
        by_case((match[2], file) for file, match in files if match[1].lower() == kind)
        for kind in ("img", "label")
    )
    if not images:
        raise nothing_found(source, "files such as Training/img/img0001.nii.gz")
    cases = []
    for number, image in images.items():
        label = labels.get(number)
        if label is None:
            raise no_label(image, f"label{number}.nii.gz")
        read = partial(read_pair, image, label)
        cases.append(FoundCase("ct", f"btcv_ct_{number}", number, label.name, read))
    return cases
