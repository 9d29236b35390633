"""Networks by themselves: segmentors, generators, discriminators and their layers."""
