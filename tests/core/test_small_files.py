"""Settings and facts from anyone: bounds, pipes, bytes that are no text; each ends in one sentence."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

import napari_uda
from napari_uda.core import small_files
from napari_uda.core.errors import InputError
from napari_uda.core.small_files import (
    dump_yaml,
    json_lines,
    open_plain,
    parse_json,
    parse_object,
    parse_yaml,
    read_json,
    read_object,
    read_small,
    read_yaml,
)


def written(folder: Path, content: str | bytes, name: str = "settings.yaml") -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def test_plain_values_are_read(tmp_path: Path) -> None:
    text = "a: {b: [1, 2.5, true, null, text]}\nempty:\n'12': Überzug\n"
    values: dict[str, Any] = {
        "a": {"b": [1, 2.5, True, None, "text"]}, "empty": None, "12": "Überzug",
    }  # fmt: skip
    assert read_yaml(written(tmp_path, text)) == values
    assert read_yaml(written(tmp_path, b"\xef\xbb\xbf" + text.encode())) == values
    assert read_json(written(tmp_path, json.dumps(values))) == values
    assert read_yaml(written(tmp_path, "")) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x [1]\nb: *x\n", "line 2: aliases (*name) are not read here: write the value itself"),
        ("a: &x {b: 1}\nc: {<<: *x}\n", "line 2: aliases"),
        ("a: [", "line 1:"),
        ("day: 2024-13-45", "a value does not fit its kind"),
        ("a: !!int x", "a value does not fit its kind"),
        ("a: !!bool perhaps", "a value does not fit its kind"),
        ("a: !!timestamp soon", "a value does not fit its kind"),
        ("a: !!python/name:os.system", "line 1: could not determine a constructor"),
        (f"a: {2**63}", "a whole number beyond 64 bits"),
        ("1: one", "the name '1', which is no text"),
        ("{[1]: one}", "is not valid YAML"),
        ("a: \x07", "is not valid YAML"),
    ],
)
def test_yaml_beyond_the_bounds(text: str, said: str, tmp_path: Path) -> None:
    file = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_yaml(file)
    assert str(file) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not valid JSON"),
        (f'{{"a": {2**63}}}', "a whole number beyond 64 bits"),
        (f'{{"a": {-(2**63) - 1}}}', "a whole number beyond 64 bits"),
    ],
)
def test_json_beyond_the_bounds(text: str, said: str, tmp_path: Path) -> None:
    file = written(tmp_path, text)
    with pytest.raises(InputError, match=said) as caught:
        read_json(file)
    assert str(file) in str(caught.value)
    assert read_object(file) is None
    assert parse_json(f'{{"a": {2**63 - 1}}}', "it") == {"a": 2**63 - 1}


@pytest.mark.parametrize("parse", [parse_yaml, parse_json])
def test_depth_and_count(parse: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One level more than the bound, and one value more."""
    deep = "[" * small_files.MOST_DEPTH + "]" * small_files.MOST_DEPTH
    assert parse(deep, "it")[0]
    with pytest.raises(InputError, match=r"it is .*nested too deeply"):
        parse(f"[{deep}]", "it")
    if parse is parse_yaml:
        monkeypatch.setattr(small_files, "MOST_VALUES", 4)
        assert parse_yaml("[1, 2, 3]", "it") == [1, 2, 3]
        with pytest.raises(InputError, match="too many values"):
            parse_yaml("[1, 2, 3, 4]", "it")


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    shared = [1, 2]
    values = {"b": shared, "a": {"c": shared}, "ü": "x"}
    file = written(tmp_path, dump_yaml(values))
    assert read_yaml(file) == values
    assert list(read_yaml(file)) == ["b", "a", "ü"]


def test_size_and_bytes(tmp_path: Path) -> None:
    file = written(tmp_path, "abcd")
    assert read_small(file, most_bytes=4) == "abcd"
    with pytest.raises(InputError, match=r"settings\.yaml is larger than 3e-06 MB"):
        read_small(file, most_bytes=3)
    for read in (read_yaml, read_json):
        with pytest.raises(InputError, match=r"settings\.yaml is no UTF-8 text \(byte 3\)"):
            read(written(tmp_path, b"a:\xff"))
    with pytest.raises(FileNotFoundError):
        read_small(tmp_path / "none")
    with pytest.raises(InputError, match="none cannot be used"):
        read_json(tmp_path / "none")


@pytest.mark.skipif(os.name != "posix", reason="pipes and links of POSIX")
def test_only_plain_files_are_opened(tmp_path: Path) -> None:
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", written(tmp_path, "mine")
    os.mkfifo(pipe)
    link.symlink_to(file)
    for path in (pipe, Path("/dev/null")):
        for mode in ("rb", "ab", "wb"):
            with pytest.raises(InputError, match="no plain file but a pipe or a device"):
                open_plain(path, mode)
    with pytest.raises(InputError, match="is a folder"):
        open_plain(tmp_path)
    with open_plain(link) as stream:
        assert stream.read() == b"mine"
    for mode in ("ab", "wb"):
        with pytest.raises(InputError, match="is a link"):
            open_plain(link, mode, follow=False)
    assert file.read_text() == "mine"
    with open_plain(tmp_path / "new", "ab", follow=False) as stream:
        stream.write(b"1")
    with open_plain(tmp_path / "new", "ab", follow=False) as stream:
        stream.write(b"2")
    assert (tmp_path / "new").read_bytes() == b"12"
    with open_plain(tmp_path / "new", "wb", follow=False) as stream:
        stream.write(b"3")
    assert (tmp_path / "new").read_bytes() == b"3"


def test_lines_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_files, "MOST_LINE_BYTES", 20)
    lines = [
        b'{"step": 1}', b"nonsense", b"[1]", b'{"long": "' + b"x" * 50 + b'"}', b"\xff\xfe", b"",
        b'{"step": 2}', b'{"x": NaN}', b"{}", b'{"step": 3',
    ]  # fmt: skip
    found = list(json_lines(io.BytesIO(b"\n".join(lines))))
    assert [found[i] for i in (0, 1, 2, 3, 4, 5, 6, 8)] == [
        {"step": 1}, None, None, None, None, None, {"step": 2}, {},
    ]  # fmt: skip
    assert len(found) == 9  # the last one has no end
    assert found[7] is not None
    assert found[7]["x"] != found[7]["x"]
    assert parse_object("[") is None


def test_no_other_reader_of_yaml_or_json_is_used() -> None:
    """But for files of the package itself, and for what a process of ours says to itself."""
    package = Path(napari_uda.__file__).parent
    readers = re.compile(r"json\.loads?\(|yaml\.(safe_|full_|unsafe_)?load(_all)?\(")
    found = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if readers.search(file.read_text(encoding="utf-8"))
    }
    assert found == {"core/small_files.py", "core/patterns.py", "convert/layout.py"}
