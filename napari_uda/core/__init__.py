"""The ground floor: settings, errors, files, seeds, devices; it knows nothing of images or networks."""
