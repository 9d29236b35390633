"""TFRecord files and the `tf.train.Example` messages in them, read without TensorFlow.

A record is its length (8 bytes), a checksum of these, the data and a checksum of the data. The checksum is
CRC-32C (Castagnoli), rotated and shifted by a constant. The message is protobuf: fields of a number,
a wire type and a value.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError, reason
from napari_uda.core.files import shown

MAX_RECORD_BYTES = 2**28
_HEAD_BYTES, _CHECKSUM_BYTES = 12, 4
_POLYNOMIAL = 0x82F63B78  # Castagnoli, lowest bit first
_MASK = 0xA282EAD8


def record_places(path: Path) -> list[tuple[int, int]]:
    """Offset and length of the data of every record, without reading the data.

    Raises:
        InputError: the file is empty, ends within a record, or a length does not fit its checksum.
    """
    name = shown(path)
    places: list[tuple[int, int]] = []
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            offset = 0
            while offset < size:
                file.seek(offset)
                head = file.read(_HEAD_BYTES)
                length = int.from_bytes(head[:8], "little")
                whole = len(head) == _HEAD_BYTES
                if whole and _masked(crc32c(head[:8])) != int.from_bytes(head[8:], "little"):
                    raise InputError(
                        f"{name}: the checksum of record {len(places)} is wrong, so it is damaged or no TFRecord; "
                        "copy it again"
                    )
                end = offset + _HEAD_BYTES + length + _CHECKSUM_BYTES
                if not whole or end > size:
                    raise InputError(
                        f"{name}: is truncated, record {len(places)} ends after byte {size}; copy it again"
                    )
                if length > MAX_RECORD_BYTES:
                    raise InputError(
                        f"{name}: record {len(places)} has {length} bytes, more than {MAX_RECORD_BYTES}; "
                        "check that SOURCE is this release"
                    )
                places.append((offset + _HEAD_BYTES, length))
                offset = end
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({reason(error)}); check the file") from error
    if not places:
        raise InputError(f"{name}: is empty (0 bytes); copy it again")
    return places


def read_example(path: Path, place: tuple[int, int]) -> dict[str, bytes | tuple[int, ...]]:
    """The features of one record.

    Args:
        path: the file.
        place: offset and length, from `record_places`.

    Returns:
        Feature name to its bytes or its whole numbers; lists of floats are left out.

    Raises:
        InputError: a wrong checksum, or a record that is no `tf.train.Example`.
    """
    name = shown(path)
    offset, length = place
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
            checksum = int.from_bytes(file.read(_CHECKSUM_BYTES), "little")
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({reason(error)}); check the file") from error
    if len(data) < length or _masked(crc32c(data)) != checksum:
        raise InputError(
            f"{name}: the checksum of its data is wrong, so it is damaged; copy it again"
        )
    try:
        return _example(memoryview(data))
    except ValueError as error:
        raise InputError(
            f"{name}: its record is no tf.train.Example ({error}); check that SOURCE is this release"
        ) from error


def _example(message: memoryview) -> dict[str, bytes | tuple[int, ...]]:
    """Example { Features features = 1 }, Features { map<string, Feature> feature = 1 }."""
    found: dict[str, bytes | tuple[int, ...]] = {}
    for features in _messages(message, 1):
        for entry in _messages(features, 1):
            key = b"".join(bytes(part) for part in _messages(entry, 1)).decode("utf-8")
            for feature in _messages(entry, 2):
                for values in _messages(feature, 1):  # bytes_list
                    found[key] = b"".join(bytes(part) for part in _messages(values, 1))
                for values in _messages(feature, 3):  # int64_list
                    found[key] = tuple(_whole_numbers(values))
    return found


def _messages(message: memoryview, number: int) -> Iterator[memoryview]:
    """The values of the length-delimited fields called `number`."""
    for field, value in _fields(message):
        if field == number and isinstance(value, memoryview):
            yield value


def _whole_numbers(message: memoryview) -> Iterator[int]:
    """Int64List { repeated int64 value = 1 }, packed or one by one."""
    for field, value in _fields(message):
        if field != 1:
            continue
        if isinstance(value, int):
            yield _signed(value)
            continue
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            yield _signed(number)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field; values of fixed size are passed over."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if wire == 2:
            length, at = _varint(message, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if length > len(message) - at:
            raise ValueError(f"a field of {length} bytes goes on after the end of its message")
        if wire == 2:
            yield tag >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A whole number of 7 bits per byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("a number goes on after the end of its message")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number has more than 10 bytes")


def _signed(value: int) -> int:
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


# --- checksum -------------------------------------------------------------------------------------


def _masked(checksum: int) -> int:
    """As TFRecord stores a checksum, so that data with checksums in it can be checked as well."""
    rotated = (checksum >> 15) | (checksum << 17)
    return (rotated + _MASK) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of some bytes.

    The checksum is linear over bits, so the data is cut into up to 1024 lanes whose registers advance
    together in numpy and are joined at the end: 1.5 MB take about 0.05 s, byte by byte over 0.3 s.
    """
    if len(data) < 4:
        register = 0xFFFFFFFF
        for byte in data:
            register = (register >> 8) ^ int(_table()[(register ^ byte) & 0xFF])
        return register ^ 0xFFFFFFFF
    lanes = min(1024, max(1, len(data) // 64))
    steps = -(-len(data) // lanes)
    padded = np.zeros(lanes * steps, np.uint8)  # zeros in front leave a register of 0 as it is
    padded[-len(data) :] = np.frombuffer(data, np.uint8)
    padded[len(padded) - len(data) :][:4] ^= 0xFF  # the same as starting with all bits set
    registers = _advance(np.zeros(lanes, np.uint32), padded.reshape(lanes, steps))
    bits = _moved_bits(steps)
    register = 0
    for lane in registers.tolist():
        moved = [bits[bit] for bit in range(32) if register >> bit & 1]
        register = lane
        for value in moved:
            register ^= value
    return register ^ 0xFFFFFFFF


@lru_cache(maxsize=4)
def _moved_bits(steps: int) -> list[int]:
    """What becomes of each single bit of a register after `steps` zero bytes."""
    single = np.uint32(1) << np.arange(32, dtype=np.uint32)
    return [int(bit) for bit in _advance(single, np.zeros((32, steps), np.uint8))]


def _advance(registers: NDArray[np.uint32], data: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Registers (n,) after the bytes (n, steps)."""
    table = _table()
    for column in np.ascontiguousarray(data.T):
        registers = (registers >> np.uint32(8)) ^ table[(registers & np.uint32(0xFF)) ^ column]
    return registers


@cache
def _table() -> NDArray[np.uint32]:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = (values >> np.uint32(1)) ^ ((values & np.uint32(1)) * np.uint32(_POLYNOMIAL))
    return values
