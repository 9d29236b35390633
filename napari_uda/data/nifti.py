"""NIfTI files: checked before they are trusted, read once in their own type, written anonymous.

The header is validated field by field before a voxel is read, and the stream is decompressed into
the final array, never beyond what the header declares. That is about twice as fast as nibabel's
`get_fdata`, and a compressed bomb costs no memory. nibabel decodes the geometry. ISA-L compresses ten times
as fast as zlib, and decompresses twice as fast.
"""

from __future__ import annotations

import io
import logging
import os
import struct
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from isal import isal_zlib
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from napari_uda.core.errors import InputError, reason
from napari_uda.core.files import atomic_file, shown
from napari_uda.core.progress import tell
from napari_uda.core.scratch import each_plane, let_go, scratch_array
from napari_uda.data.grid import Affine, check_affine, corners_mm, spacing_mm, three_sides
from napari_uda.data.gzip_stream import GZIP_START, MAX_GZIP_RATIO, STREAM_ERRORS, GzipStream
from napari_uda.data.nifti_forms import NiftiForms
from napari_uda.data.units import in_millimetres, millimetres_of, nifti_unit

Placement = Literal["auto", "sform", "qform"]
"""Which of its two forms says where a NIfTI file lies in space."""
_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8",
    256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_REFUSED_TYPES = {
    1: "1-bit", 32: "complex", 128: "RGB colour", 1536: "128-bit float", 1792: "complex",
    2048: "complex", 2304: "RGBA colour",
}  # fmt: skip
_FORM_CODES = {
    0: "not set", 1: "scanner", 2: "aligned to another volume", 3: "Talairach", 4: "MNI 152",
    5: "another template",
}  # fmt: skip
_HEADER_BYTES = {348: "NIfTI-1", 540: "NIfTI-2"}
_MAX_EXTENSION_BYTES = 2**26
_MAX_TRAILING_BYTES = 4096
_CHUNK = 2**18
_logger = logging.getLogger(__name__)
_SILENT = logging.Logger("nibabel repairs", logging.CRITICAL + 1)
_NEARLY_AGREE = 0.25  # of a voxel; forms farther apart than half of one are refused when read
_BLOCK = 2**20  # bytes that are compressed at once; smaller ones cost size, larger ones memory
_GZIP_START = bytes(
    (0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 4, 255)
)  # no name, no time, fast, system unknown
_DEFLATE_END = b"\x03\x00"  # an empty last block
_COMPRESSION_LEVEL = 1  # files as small as zlib's at its level 1


class TwoPlacements(InputError):
    """A file whose sform and qform place it differently; only its user knows which one is meant.

    Attributes:
        file: its name.
        difference: how far the two are apart, or that the qform is not valid.
        sform: code and meaning of the sform.
        qform: of the qform.
    """

    def __init__(self, file: str, apart: str, sform: str, qform: str) -> None:
        """Say what is so, and the remedy; `apart` is "" when the qform is not valid."""
        self.file, self.sform, self.qform = file, sform, qform
        self.difference = f"up to {apart} apart" if apart else "and its qform is not valid"
        how = f"by {apart}" if apart else "(the qform is not valid)"
        super().__init__(
            f"{file}: its sform and qform disagree {how} (sform_code {sform}; qform_code {qform}), so the "
            "orientation cannot be trusted; choose the right one with --placement sform or --placement qform, or "
            "set the code of the wrong one to 0"
        )


@dataclass(frozen=True)
class _Layout:
    """Where the voxels lie in the file, and what they mean."""

    sides: tuple[int, int, int]  # (x, y, z)
    dtype: np.dtype[np.generic]  # with the file's byte order
    offset: int  # bytes before the first voxel
    slope: float
    intercept: float
    forms: NiftiForms

    @property
    def is_scaled(self) -> bool:
        return (self.slope, self.intercept) != (1.0, 0.0)

    @property
    def voxel_bytes(self) -> int:
        x, y, z = self.sides
        return x * y * z * self.dtype.itemsize


def read_nifti(
    path: Path, placement: Placement = "auto"
) -> tuple[NDArray[np.generic], Affine, float, NiftiForms]:
    """Read a `.nii`, `.nii.gz` or `.nii.zst` file, NIfTI-1 or NIfTI-2, either byte order.

    Args:
        path: the file.
        placement: which of sform and qform is trusted where both are set; auto takes the sform, and
            refuses a file whose two disagree.

    Returns:
        Voxels (Z, Y, X), C-contiguous, in the file's type and the machine's byte order; float32 when
        the header scales them (`scl_slope`, `scl_inter`). Affine (4, 4) to RAS+ millimetres, equal to
        nibabel's bit for bit where the header is in millimetres. The slope, 0 when the header scales nothing.
        What else the header says about the place.

    Raises:
        InputError: whatever keeps the file from being a sound 3-D volume.
    """
    name = shown(path)
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            compression = _check_compression(file.read(4), name)
            file.seek(0)
            if compression == "zstd":
                from napari_uda.data.zstd_stream import MAX_ZSTD_RATIO, ZstdStream

                return _read_stream(ZstdStream(file), size * MAX_ZSTD_RATIO, name, placement)
            if compression == "gzip":
                return _read_stream(GzipStream(file), size * MAX_GZIP_RATIO, name, placement)
            return _read_stream(file, size, name, placement)
    except STREAM_ERRORS as error:
        raise InputError(
            f"{name}: its {'zstd' if name.lower().endswith('.zst') else 'gzip'} data is damaged ({error}); copy the file again"
        ) from error
    except MemoryError as error:
        raise InputError(f"{name}: does not fit into memory; crop or resample it") from error
    except OSError as error:
        raise InputError(
            f"{name}: cannot be read ({reason(error)}); check the file and its disk"
        ) from error


def _check_compression(start: bytes, name: str) -> Literal["", "gzip", "zstd"]:
    """How the file is compressed, by its first bytes, which must agree with its name."""
    if name.lower().endswith(".zst") and start == b"\x28\xb5\x2f\xfd":
        return "zstd"
    compressed = start[:2] == GZIP_START
    if not start:
        raise InputError(f"{name}: is empty (0 bytes); copy the file again")
    if name.lower().endswith(".zst"):
        raise InputError(
            f"{name}: is not zstd-compressed although its name ends in .zst; copy or export the file again"
        )
    if compressed and not name.lower().endswith(".gz"):
        raise InputError(
            f"{name}: is gzip-compressed although its name says .nii; rename it to .nii.gz"
        )
    if not compressed and name.lower().endswith(".gz"):
        sizes = {int.from_bytes(start, "little"), int.from_bytes(start, "big")}
        remedy = (
            "rename it to .nii" if sizes & _HEADER_BYTES.keys() else "copy or export the file again"
        )
        raise InputError(f"{name}: is not gzip-compressed although its name ends in .gz; {remedy}")
    return "gzip" if compressed else ""


def _fill(stream: io.RawIOBase, buffer: memoryview) -> int:
    """Read until `buffer` is full or the stream ends; the number of bytes read."""
    count = 0
    while count < len(buffer):
        step = stream.readinto(buffer[count:])
        if not step:
            break
        count += step
        if len(buffer) > _CHUNK:  # voxels, not a header
            tell(count, len(buffer))
    return count


def _read_stream(
    stream: io.RawIOBase, most_bytes: int, name: str, placement: Placement
) -> tuple[NDArray[np.generic], Affine, float, NiftiForms]:
    start = bytearray(348)
    count = _fill(stream, memoryview(start))
    if count < 348:
        raise InputError(
            f"{name}: ends after {count} bytes, within the 348 of a NIfTI header; copy the file again"
        )
    header_bytes = _header_size(start, name)
    start.extend(bytes(header_bytes - 348))
    count += _fill(stream, memoryview(start)[348:])
    layout = _check_header(bytes(start), name, placement)
    skipped = bytearray(layout.offset - header_bytes)
    count += _fill(stream, memoryview(skipped))
    declared = layout.offset + layout.voxel_bytes
    array = scratch_array(layout.sides[::-1], layout.dtype)
    present = most_bytes
    if declared <= most_bytes:
        present = count + _fill(stream, array.reshape(-1).view(np.uint8).data)
    if present < declared:
        raise InputError(
            f"{name}: is truncated or its header is wrong (at most {present} of the declared "
            f"{declared} bytes are there); copy or export the file again"
        )
    trailing = _fill(stream, memoryview(bytearray(_MAX_TRAILING_BYTES + 1)))
    if trailing > _MAX_TRAILING_BYTES:
        raise InputError(
            f"{name}: goes on after the {declared} bytes its header declares "
            f"(size {' x '.join(map(str, layout.sides))}); correct the header or export the file again"
        )
    step = abs(layout.slope) if layout.is_scaled else 0.0
    values = scaled(native(array), layout.slope, layout.intercept)
    let_go(values)
    return values, layout.forms.affine, step, layout.forms


def _header_size(start: bytes | bytearray, name: str) -> int:
    for order in ("<i4", ">i4"):
        size = int(np.frombuffer(start, order, 1)[0])
        if size in _HEADER_BYTES:
            return size
    raise InputError(
        f"{name}: is not a NIfTI file (its header size is {int.from_bytes(start[:4], 'little')}, "
        "not 348 or 540); convert it to NIfTI"
    )


def _check_header(block: bytes, name: str, placement: Placement) -> _Layout:
    """Validate every field that decides what is read, and decode them."""
    header_type = nib.Nifti1Header if len(block) == 348 else nib.Nifti2Header
    order = "<" if block[:2] in (b"\x5c\x01", b"\x1c\x02") else ">"
    header = header_type(block, endianness=order, check=False)
    header.check_fix(
        logger=_SILENT, error_level=100
    )  # nibabel's repairs, for its affine bit for bit
    if bytes(header["magic"])[:3] not in (b"n+1", b"n+2"):
        raise InputError(
            f"{name}: is not a single-file NIfTI (magic {bytes(header['magic'])[:4]!r}); save it as .nii.gz"
        )
    code = int(header["datatype"])
    if code not in _TYPES:
        kind = _REFUSED_TYPES.get(code, "unknown")
        raise InputError(
            f"{name}: its voxel type is {kind} (NIfTI datatype {code}); save it as integer or float grey values"
        )
    dtype = np.dtype(order + _TYPES[code])
    axes = int(header["dim"][0])
    if not 1 <= axes <= 7:
        raise InputError(
            f"{name}: its header declares {axes} axes (dim[0]); the header is damaged, export the file again"
        )
    sides = three_sides([int(size) for size in header["dim"][1 : axes + 1]], dtype.itemsize, name)
    offset = float(header["vox_offset"])
    if not (len(block) + 4 <= offset <= _MAX_EXTENSION_BYTES and offset.is_integer()):
        raise InputError(
            f"{name}: its header puts the first voxel at byte {offset:g} (vox_offset), not between "
            f"{len(block) + 4} and {_MAX_EXTENSION_BYTES}; the header is damaged, export the file again"
        )
    slope, intercept = scaling(header, name)
    with np.errstate(invalid="ignore"):  # NaN geometry is refused below
        forms = placed(header, sides, name, placement)
    return _Layout(sides, dtype, int(offset), slope, intercept, forms)


def scaling(header: nib.Nifti1Header, name: str) -> tuple[float, float]:
    """Slope and intercept; 0 and NaN slopes mean "not scaled", as everywhere."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0
    if not np.isfinite([slope, intercept]).all():
        raise InputError(
            f"{name}: its header scales voxels by slope {slope} and intercept {intercept}; "
            "set scl_slope to 1 and scl_inter to 0 or to the true finite values"
        )
    return slope, intercept


def placed(
    header: nib.Nifti1Header, sides: tuple[int, int, int], name: str, placement: Placement
) -> NiftiForms:
    """What the header means, checked, in millimetres."""
    qform_counts = int(header["qform_code"]) > 0 and (
        placement == "qform" or int(header["sform_code"]) == 0
    )
    affine = _one_form(header, name, takes_qform=qform_counts)
    unit = nifti_unit(int(header["xyzt_units"]))
    in_mm = in_millimetres(affine, unit, name, "xyzt_units")
    check_affine(in_mm, name)
    disagree = not _forms_apart(header, sides) <= min(spacing_mm(affine)) / 2  # NaN does, too
    if disagree and placement == "auto":
        raise _two_placements(header, sides, name, unit)
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        _logger.warning(
            "%s: neither its sform nor its qform is set (both codes are 0), so its orientation is a guess: left "
            "and right may be swapped",
            name,
        )
    return NiftiForms.of(header, in_mm, millimetres_of(unit), disagree=disagree)


def _one_form(header: nib.Nifti1Header, name: str, *, takes_qform: bool) -> Affine:
    """The qform, or the sform and without one the spacing alone; refused when it is none."""
    if takes_qform:
        qform = _qform(header)
        if qform is None:
            quaternion = [float(header[f"quatern_{axis}"]) for axis in "bcd"]
            raise InputError(
                f"{name}: its qform is no rotation (quaternion {quaternion}); correct it or store an sform"
            )
        return qform
    affine = np.array(header.get_best_affine(), np.float64)
    if int(header["sform_code"]) > 0 and not affine[:3, :3].any():
        raise InputError(
            f"{name}: its sform (sform_code {int(header['sform_code'])}) is all zero, a singular affine; "
            "store a valid sform or set sform_code to 0"
        )
    return affine


def _two_placements(
    header: nib.Nifti1Header, sides: tuple[int, int, int], name: str, unit: str
) -> TwoPlacements:
    """Two forms that are more than half a voxel apart: nobody but the user knows which is meant."""
    apart = _forms_apart(header, sides)
    unit = unit or "mm"
    meant = [
        f"{int(header[field])}, {_FORM_CODES.get(int(header[field]), 'unknown')}"
        for field in ("sform_code", "qform_code")
    ]
    return TwoPlacements(
        name, f"{apart:.3g} {unit}" if np.isfinite(apart) else "", meant[0], meant[1]
    )


def _qform(header: nib.Nifti1Header) -> Affine | None:
    """The affine of the qform fields, or None when they hold no rotation."""
    try:
        return np.asarray(header.get_qform(), np.float64)
    except (HeaderDataError, ValueError):
        return None


def _forms_apart(header: nib.Nifti1Header, sides: tuple[int, int, int]) -> float:
    """How far sform and qform put a corner voxel apart, in the file's unit; 0 when only one is set, NaN when unknown."""
    if int(header["sform_code"]) == 0 or int(header["qform_code"]) == 0:
        return 0.0
    qform = _qform(header)
    if qform is None:
        return float("nan")
    sform = np.asarray(header.get_sform(), np.float64)
    offsets = corners_mm(sform, sides[::-1]) - corners_mm(qform, sides[::-1])
    return float(np.linalg.norm(offsets, axis=1).max())


def native(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """The same values in the machine's byte order, swapped in place."""
    if array.dtype.isnative:
        return array
    return array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))


def scaled(array: NDArray[np.generic], slope: float, intercept: float) -> NDArray[np.generic]:
    """Apply slope and intercept: computed in float64 slice by slice, kept as float32."""
    if (slope, intercept) == (1.0, 0.0):
        return array
    values = scratch_array(array.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for plane, found in zip(each_plane(array), each_plane(values), strict=True):
            found[...] = plane.astype(np.float64) * slope + intercept
    return values


def write_nifti(
    path: Path,
    array: NDArray[np.generic],
    affine: Affine,
    forms: NiftiForms | None = None,
    slope: float = 1.0,
) -> None:
    """Write a `.nii` or `.nii.gz` file (by its suffix) that says nothing but voxels and geometry.

    Description, intent, auxiliary file and database name stay blank, there are no extensions and no
    time stamp, so equal volumes give equal files. The file appears whole or not at all.

    Args:
        path: the file; missing folders are created.
        array: voxels (Z, Y, X), integer, float or bool (stored as uint8); float16 becomes float32.
        affine: (4, 4) to RAS+ millimetres. NIfTI-1 stores float32: what came from a NIfTI file comes
            back bit for bit, any other affine is rounded (about 1e-5 mm).
        forms: of the file that the affine was read from: they are written as they were.
        slope: what readers multiply the stored values by.

    Raises:
        InputError: a voxel type NIfTI lacks, a volume over its limits, a folder that cannot be written.
    """
    name = shown(path)
    stored = np.dtype({"?": "u1", "e": "f4"}.get(array.dtype.char, array.dtype.str))
    stored = stored.newbyteorder("<")
    if stored.str[1:] not in _TYPES.values():
        raise InputError(
            f"{name}: NIfTI has no voxel type {array.dtype}; convert the array to float32"
        )
    z, y, x = array.shape
    three_sides((x, y, z), stored.itemsize, name)
    check_affine(affine, name)
    header = _header_for(affine, (x, y, z), stored, forms)
    header.set_slope_inter(slope, 0)
    with atomic_file(path) as stream:
        pieces: Iterable[bytes] = chain(
            (header.binaryblock, bytes(4)),
            (np.ascontiguousarray(plane, stored).tobytes() for plane in each_plane(array)),
        )
        if path.name.lower().endswith(".gz"):
            pieces = _compressed(pieces)
        stream.writelines(pieces)


def _compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces as one gzip member without name and time, compressed by as many threads as there are cores.

    Blocks are compressed each for itself and end at a whole byte, as pigz does it, so that the bytes do not
    depend on the number of threads.
    """
    threads = os.cpu_count() or 1
    check, size = 0, 0
    yield _GZIP_START
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(threads, "compress") as pool:
        for block in _blocks(pieces):
            check, size = isal_zlib.crc32(block, check), size + len(block)
            waiting.append(pool.submit(_deflated, block))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    yield _DEFLATE_END + struct.pack("<II", check, size & 0xFFFFFFFF)


def _blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces joined to blocks of at least `_BLOCK` bytes; only the last one is smaller."""
    block = bytearray()
    for piece in pieces:
        block += piece
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


def _deflated(block: bytes) -> bytes:
    """A block as DEFLATE that goes on: without an end, up to a whole byte."""
    compressor = isal_zlib.compressobj(_COMPRESSION_LEVEL, wbits=-15)
    return compressor.compress(block) + compressor.flush(isal_zlib.Z_SYNC_FLUSH)


def _header_for(
    affine: Affine,
    sides: tuple[int, int, int],
    dtype: np.dtype[np.generic],
    forms: NiftiForms | None,
) -> nib.Nifti1Header:
    """A header whose affine reads back bit for bit if any form can hold it.

    The forms of the file it was read from, where there are such. Else both forms when they nearly agree (ITK
    opens no sheared sform, but takes the qform beside it); the sform alone for larger shears; the qform
    alone or neither for affines that came from such a header (their float64 values do not fit an sform).
    """
    if forms is not None and np.array_equal(forms.affine, affine):
        header = _bare_header(sides, dtype)
        forms.put(header)
        return header
    headers = []
    for sform_code, qform_code in ((1, 1), (1, 0), (0, 1), (0, 0)):
        header = _bare_header(sides, dtype)
        header.set_zooms(spacing_mm(affine)[::-1])
        header.set_qform(affine, qform_code)
        header.set_sform(affine if sform_code else None, sform_code)
        if _forms_apart(header, sides) <= min(spacing_mm(affine)) * _NEARLY_AGREE:
            headers.append(header)
    for header in headers:
        usable = not int(header["qform_code"]) or _qform(header) is not None
        if usable and np.array_equal(header.get_best_affine(), affine):
            return header
    return headers[0]


def _bare_header(sides: tuple[int, int, int], dtype: np.dtype[np.generic]) -> nib.Nifti1Header:
    """A header in millimetres without a place."""
    header = nib.Nifti1Header(endianness="<")
    header.set_data_dtype(dtype)
    header.set_data_shape(sides)
    header.set_xyzt_units("mm")
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return header
