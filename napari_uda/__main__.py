"""`python -m napari_uda`, also under `torchrun -m`."""

from napari_uda.cli import main

if __name__ == "__main__":
    main()
