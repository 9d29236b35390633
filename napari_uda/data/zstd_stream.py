"""A zstd-compressed file as a stream of its content."""

from __future__ import annotations

import io
import sys
import zlib

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_ZSTD_RATIO = 2**15
"""What a block of one repeated byte reaches."""
_CHUNK = 2**18


class ZstdStream(io.RawIOBase):
    """The content of a zstd file, memory bounded; several frames follow each other as one.

    Damage is a `zlib.error`, as it is in a gzip file.
    """

    def __init__(self, file: io.FileIO) -> None:
        """Read from the file's present place on."""
        self._file = file
        self._decoder = zstd.ZstdDecompressor()

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a part of the buffer, 0 bytes at the end."""
        while True:
            data = b""
            if self._decoder.eof:
                data = self._decoder.unused_data or self._file.read(_CHUNK)
                if not data:
                    return 0
                self._decoder = zstd.ZstdDecompressor()
            elif self._decoder.needs_input:
                data = self._file.read(_CHUNK)
                if not data:
                    raise zlib.error("it ends too early")
            try:
                output = self._decoder.decompress(data, min(len(buffer), 4 * _CHUNK))
            except zstd.ZstdError as error:
                raise zlib.error(str(error)) from error
            if output:
                buffer[: len(output)] = output
                return len(output)
