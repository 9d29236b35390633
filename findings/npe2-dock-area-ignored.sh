#!/usr/bin/env bash
# napari 0.9.2: a plugin's manifest may say where its dock goes and that it becomes a tab; napari reads neither.
#
# One would guess: `default_dock_area: left` and `tabify: true` of a widget in napari.yaml, which npe2 documents and
#   checks, put the dock to the left and make it a tab of the dock that is there.
# What happens: every dock opens on the right, one below the other. With three docks none can be read.
# Seen (napari 0.9.2, npe2 0.10.0, PyQt6 6.11.0, Python 3.11, Linux):
#   the manifest: first left, tabify True; second left, tabify True
#   in the window: first RightDockWidgetArea, second RightDockWidgetArea, tabs: 0
# Needs the system libraries of Qt 6 (libegl1 and libgl1 on Debian), no display.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
    napari==0.9.2 npe2==0.10.0 numpy==2.4.6 QtPy==2.4.3 PyQt6==6.11.0 PyQt6-Qt6==6.11.2
cd "$folder"
cat >two_docks.py <<'PYTHON'
from qtpy.QtWidgets import QWidget


class First(QWidget):
    pass


class Second(QWidget):
    pass
PYTHON
cat >napari-plugin.yaml <<'YAML'
name: two_docks
display_name: Two docks
contributions:
  commands:
    - {id: two_docks.first, title: Open first, python_name: "two_docks:First"}
    - {id: two_docks.second, title: Open second, python_name: "two_docks:Second"}
  widgets:
    - {command: two_docks.first, display_name: first, default_dock_area: left, tabify: true}
    - {command: two_docks.second, display_name: second, default_dock_area: left, tabify: true}
YAML
HOME=$folder NAPARI_CONFIG=$folder/napari.yaml QT_API=pyqt6 QT_QPA_PLATFORM=offscreen PYTHONPATH=$folder \
    venv/bin/python -W ignore - 2>errors.txt <<'PYTHON' || { cat errors.txt >&2; exit 1; }
import napari
import npe2
from npe2 import PluginManager, PluginManifest
from qtpy.QtWidgets import QApplication

print("napari", napari.__version__, "npe2", npe2.__version__)
manifest = PluginManifest.from_file("napari-plugin.yaml")
manifest.validate_imports()
said = [f"{w.display_name} {w.default_dock_area}, tabify {w.tabify}" for w in manifest.contributions.widgets]
print("the manifest:", "; ".join(said))
PluginManager.instance().register(manifest)

viewer = napari.Viewer(show=False)
docks = [viewer.window.add_plugin_dock_widget("two_docks", name)[0] for name in ("first", "second")]
QApplication.instance().processEvents()
window = docks[0].parent()
areas = [window.dockWidgetArea(dock).name for dock in docks]
tabs = len(window.tabifiedDockWidgets(docks[0]))
print(f"in the window: first {areas[0]}, second {areas[1]}, tabs: {tabs}")
viewer.close()
assert areas == ["RightDockWidgetArea"] * 2, "default_dock_area is minded now"
assert tabs == 0, "tabify is minded now"
PYTHON
