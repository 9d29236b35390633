"""The viewer: the only place that imports napari, Qt, magicgui and pyqtgraph."""
