"""The user's program: runs in a peer's own environment, so it imports nothing but that peer and the
standard library, and calls only what all peers have in common.
"""
