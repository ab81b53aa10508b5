"""Files that are whole or not there: checkpoints, shards, checked JSON."""
