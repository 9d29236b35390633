"""Made-up data in the layouts of public releases, written with other libraries than the package reads with."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

OBLIQUE = np.array(
    [[-1.25, 0.0, 0.25, 31.5], [0.0, -1.5, 0.0, 20.25], [0.125, 0.0, 3.0, -7.0], [0, 0, 0, 1]]
)


def grey(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """int16 values, no two volumes alike."""
    return np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)


def codes(shape: tuple[int, ...], values: Sequence[int], dtype: str = "int16") -> np.ndarray:
    """A label map in which every value occurs, in no symmetric place."""
    flat = np.zeros(int(np.prod(shape)), dtype)
    flat[1 : 1 + 2 * len(values)] = np.repeat(values, 2)
    return flat.reshape(shape)


def write_nii(path: Path, array: np.ndarray, affine: np.ndarray = OBLIQUE) -> None:
    """An array (Z, Y, X) as NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.T, affine), path)


def write_png(path: Path, plane: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(plane), str(path))


def write_dicom_slice(path: Path, plane: np.ndarray, height: float, series: str) -> None:
    """One axial slice: columns to the patient's left, rows to the back, as scanners store it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    image = sitk.GetImageFromArray(plane[None].astype("int16"))
    image.SetSpacing((0.75, 1.5, 2.0))
    tags = {
        "0008|0060": "MR",
        "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
        "0008|0018": f"{series}.1",
        "0020|000d": "1.2.3",
        "0020|000e": series,
        "0020|0032": f"-7\\-9\\{height}",
        "0020|0037": "1\\0\\0\\0\\1\\0",
        "0028|0030": "1.5\\0.75",
    }
    for tag, value in tags.items():
        image.SetMetaData(tag, value)
    writer.SetFileName(str(path))
    writer.Execute(image)


# --- TFRecord, bit by bit ---------------------------------------------------------------------------


def slow_crc32c(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    value = slow_crc32c(data)
    return struct.pack("<I", (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def message(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(features: dict[str, bytes | int]) -> bytes:
    """A serialised tf.train.Example with bytes and whole numbers."""
    entries = b""
    for key, value in features.items():
        if isinstance(value, bytes):
            feature = message(1, message(1, value))
        else:
            feature = message(3, message(1, varint(value)))
        entries += message(1, message(1, key.encode()) + message(2, feature))
    return message(1, entries)


def sifa_example(image: np.ndarray, labels: np.ndarray) -> bytes:
    """A record of the SIFA release: (rows, columns, 3 slices) of float32 each."""
    features: dict[str, bytes | int] = {}
    for axis in range(3):
        features[f"dsize_dim{axis}"] = image.shape[axis]
        features[f"lsize_dim{axis}"] = (*image.shape[:2], 1)[axis]
    features["data_vol"] = image.astype("<f4").tobytes()
    features["label_vol"] = labels.astype("<f4").tobytes()
    return example(features)
