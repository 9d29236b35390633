"""The Train dock: a new run, the run that is watched, and the list of runs."""
