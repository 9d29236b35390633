"""The two exceptions every part of the package shares."""

from __future__ import annotations


class InputError(ValueError):
    """Input that cannot be used: one sentence naming the thing, the value and the remedy."""


class Cancelled(Exception):
    """Work stopped because its stop event was set; nothing partial was left behind."""
