"""napari_uda: unsupervised domain adaptation for medical image segmentation."""
