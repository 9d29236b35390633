"""Arguments that several commands take, as types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

RunFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
SpecFile = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SPEC.yaml")]
Paths = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH...")]
