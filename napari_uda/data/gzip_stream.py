"""gzip and zlib data as a stream of its content, with its checksums verified.

Libraries that read volumes stop after the last voxel and so never come to the checksum behind it; that of MetaImage
goes on where zlib refuses.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path

from isal import isal_zlib
from isal.igzip_lib import IsalError

from napari_uda.core.progress import tell

STREAM_ERRORS: tuple[type[Exception], ...] = (IsalError, zlib.error)  # type: ignore[assignment]
"""What damaged data raises."""
GZIP_START = b"\x1f\x8b"
MAX_GZIP_RATIO = 1032
"""What DEFLATE can reach at most."""
_CHUNK = 2**18
_MOST_BEHIND = 2**20
_GZIP, _ZLIB = 31, 15  # how zlib is told what wraps the data


class GzipStream(io.RawIOBase):
    """The content of a gzip file, memory bounded; several members follow each other as one.

    `gzip.GzipFile` reads the same in 8 kB steps and takes a third longer.
    """

    def __init__(self, file: io.FileIO, *, is_zlib: bool = False) -> None:
        """Read from the file's present place on.

        Args:
            file: the file.
            is_zlib: whether the data is one zlib stream; what follows it is left alone.
        """
        self._file = file
        self._is_zlib = is_zlib
        self._decoder = isal_zlib.decompressobj(_ZLIB if is_zlib else _GZIP)
        self._input = b""

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a part of the buffer, 0 bytes at the end."""
        while True:
            if self._decoder.eof:
                if self._is_zlib:
                    return 0
                rest = self._decoder.unused_data or self._file.read(_CHUNK)
                if not rest.strip(b"\0"):
                    return 0
                self._decoder, self._input = isal_zlib.decompressobj(_GZIP), rest
            data = self._input or self._file.read(_CHUNK)
            output = self._decoder.decompress(data, min(len(buffer), 4 * _CHUNK))
            self._input = self._decoder.unconsumed_tail
            if output:
                buffer[: len(output)] = output
                return len(output)
            if not data and not self._decoder.eof:
                raise zlib.error("it ends too early")


def unpacked_bytes(path: Path, needed: int, start: int = 0) -> int:
    """Unpack gzip or zlib data to nowhere, so that its checksums are verified.

    Args:
        path: the file.
        needed: how many bytes are wanted; where far more follow, the rest is left alone.
        start: where the data begins in the file.

    Returns:
        How many bytes there are.

    Raises:
        STREAM_ERRORS: it is damaged.
        OSError: the file cannot be read.
    """
    count, buffer = 0, bytearray(4 * _CHUNK)
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        is_zlib = file.read(len(GZIP_START)) != GZIP_START
        file.seek(start)
        stream = GzipStream(file, is_zlib=is_zlib)
        while count < needed + _MOST_BEHIND and (step := stream.readinto(buffer)):
            count += step
            tell(0, 0)  # whoever waits may stop it here
    return count
