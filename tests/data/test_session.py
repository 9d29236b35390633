"""Sessions as files: what is written is read, and what is not as it was is named."""

from __future__ import annotations

import hashlib
import shutil
import threading
from pathlib import Path

import pytest

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.data.session import (
    LayerState,
    Session,
    ViewState,
    check_files,
    checksum,
    read_session,
    relative_path,
    size_of,
    write_session,
)


def layer(path: str, file: Path) -> LayerState:
    """The state of a file, labels with everything that can be chosen."""
    return LayerState(
        path=path,
        sha256=checksum(file),
        bytes=size_of(file),
        kind="labels",
        role="prediction",
        case="a",
        model={"name": "tiny", "weights_sha256": None},
        opacity=0.25,
        contour=2,
        names={1: "MYO", 7: "left atrium"},
        colours={1: "#E41A1C", 7: "#377EB880"},
        hidden=(7,),
    )


def test_a_session_comes_back_and_moves_with_its_files(tmp_path: Path) -> None:
    study = tmp_path / "study"
    (study / "images").mkdir(parents=True)
    (study / "images" / "a.nii.gz").write_bytes(b"voxels")
    state = layer(
        relative_path(study / "images" / "a.nii.gz", study), study / "images" / "a.nii.gz"
    )
    assert state.path == "images/a.nii.gz"
    assert state.sha256 == hashlib.sha256(b"voxels").hexdigest()
    view = ViewState(ndisplay=3, order=(2, 0, 1), point_mm=(1.5, -2, 0), zoom=2.5)
    session = Session(layers=(state,), view=view, docks=("Data", "View"), side_by_side=True)
    write_session(study / "session.yaml", session)
    assert str(tmp_path) not in (study / "session.yaml").read_text()
    shutil.move(study, tmp_path / "elsewhere")
    read = read_session(tmp_path / "elsewhere" / "session.yaml")
    assert read == session
    checked = check_files(read, tmp_path / "elsewhere")
    assert checked.layers == ((state, tmp_path / "elsewhere" / "images" / "a.nii.gz"),)
    assert checked.sentence() == ""


def test_missing_and_changed_files_are_named_in_one_sentence(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(name.encode())
    session = Session(layers=tuple(layer(name, tmp_path / name) for name in ("a", "b", "c")))
    (tmp_path / "a").unlink()
    (tmp_path / "b").write_bytes(b"B")  # as large as before
    checked = check_files(session, tmp_path)
    assert [state.path for state, _ in checked.layers] == ["c"]
    assert checked.sentence() == (
        "a is missing; b is not as it was saved; the rest is shown. Put the files back, or open them and save the "
        "session again."
    )
    (tmp_path / "c").write_bytes(b"longer")
    assert "nothing is left to show" in check_files(session, tmp_path).sentence()


def test_a_folder_of_a_series_has_one_checksum(tmp_path: Path) -> None:
    series = tmp_path / "series"
    series.mkdir()
    for name in ("2.dcm", "1.dcm", ".hidden"):
        (series / name).write_bytes(name.encode())
    lines = "".join(
        f"{name}\0{hashlib.sha256(name.encode()).hexdigest()}\n" for name in ("1.dcm", "2.dcm")
    )
    assert checksum(series) == hashlib.sha256(lines.encode()).hexdigest()
    assert size_of(series) == 10
    (series / "3.dcm").write_bytes(b"")
    assert checksum(series) != hashlib.sha256(lines.encode()).hexdigest()


def test_a_check_can_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    stop = threading.Event()
    session = Session(layers=(layer("a", tmp_path / "a"),))
    stop.set()
    with pytest.raises(Cancelled):
        check_files(session, tmp_path, stop=stop)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("steps: 3", "is no session; give a file that Save session… wrote"),
        ("[1, 2]", "is no session"),
        ("napari_uda_session: 2", "of version 2, and this napari_uda reads version 1; update"),
        ("napari_uda_session: 1\ncolour: red", "there is no setting colour; correct it"),
        ("napari_uda_session: 1\nlayers: [{path: a}]", r"layers \(entry 1\)\.sha256 must be given"),
        ("napari_uda_session: 1\nview: {order: [0, 0]}", "order must name each axis once"),
        ("napari_uda_session: 1\nview: {zoom: .inf}", "view.zoom must be a finite number"),
        ("napari_uda_session: !!python/object/apply:os.getcwd []", "is not valid YAML"),
    ],
)
def test_what_is_no_session_is_refused_in_a_sentence(
    tmp_path: Path, text: str, problem: str
) -> None:
    file = tmp_path / "session.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=problem) as refused:
        read_session(file)
    assert "\n" not in str(refused.value)


def test_a_path_cannot_break_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    state = layer("a", tmp_path / "a")
    for path in ("x\0y", "a/b", ".", "no\nline"):
        session = Session(layers=(state.model_copy(update={"path": path}),))
        assert not check_files(session, tmp_path).layers
    with pytest.raises(InputError, match=r"end its name in \.yaml"):
        write_session(tmp_path / "session.txt", Session())
