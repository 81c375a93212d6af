"""Scores that MTEB wrote: reading them and holding them side by side."""
