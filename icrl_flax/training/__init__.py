"""Algorithms 1 and 2: data, loss, loop, result and checkpoint."""
