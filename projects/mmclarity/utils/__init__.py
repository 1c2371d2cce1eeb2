"""Files, checkpoints, models, compiled loops and processors: what all parts share."""
