"""Tables and bars for notebooks, with a kernel and without one."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import pytest

from napari_uda.core.notebook import html_table, in_notebook, shown_progress


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a notebook's kernel ran the test, without widgets."""
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    module = SimpleNamespace(get_ipython=lambda: shell, version_info=(9, 0))
    monkeypatch.setitem(sys.modules, "IPython", module)


def test_texts_are_escaped() -> None:
    page = html_table("<b>&", ["1 < 2"], ["name", "<i>"], [["<script>", '"x"']])
    assert "<b>&lt;b&gt;&amp;</b>" in page
    assert "1 &lt; 2" in page
    assert ">&lt;script&gt;</td>" in page
    assert ">&quot;x&quot;</td>" in page
    assert "<script" not in page


def test_colours_are_those_around_it() -> None:
    page = html_table("title", [], ["a"], [["1"]])
    assert "color:" not in page.replace("rgba(128,128,128,.4)", "")
    assert "background:none" in page


def test_a_script_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook()
    terminal = SimpleNamespace(config={"TerminalInteractiveShell": {}})
    ipython = SimpleNamespace(get_ipython=lambda: terminal)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert not in_notebook()
    with shown_progress("work", "slice", None) as report:
        assert report is None


def test_the_callers_own_report_comes_first(kernel: None) -> None:
    def own(done: int, total: int) -> None:
        raise NotImplementedError

    with shown_progress("work", "slice", own) as report:
        assert report is own


def test_a_notebook_shows_a_bar_in_the_thread_of_its_cell_alone(
    kernel: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_notebook()
    with shown_progress("predict mr", "slice", None, stays=True) as report:
        assert report is not None
        report(2, 4)
        report(4, 4)
    said = capsys.readouterr().err
    assert "predict mr" in said
    assert "4/4" in said
    elsewhere: list[bool] = []
    thread = threading.Thread(target=lambda: elsewhere.append(in_notebook()))
    thread.start()
    thread.join()
    assert elsewhere == [False]
