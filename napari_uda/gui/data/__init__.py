"""Dock `Data`: what is opened, which patients there are, and what each result came from."""
