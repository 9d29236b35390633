"""Loss terms, one file per family; every term is a function, its weight is in the config."""
