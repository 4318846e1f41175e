"""Recordings: requests and their results in a folder, to be answered again without a model.

The container is SQLite: a process that is killed while it writes loses its last results at most, many
processes may write to one recording, and a reader needs no more memory for a million results than for ten.
"""
