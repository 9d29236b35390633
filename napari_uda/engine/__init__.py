"""Training: runtime, trainer, schedules, checkpoints."""
