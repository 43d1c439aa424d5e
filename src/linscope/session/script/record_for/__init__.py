"""Recordings that are made for a script: with all that its replay needs to be equal to its live run."""
