"""The sidecar: a process that owns the networking of a Tinker sampling client.

User code imports `tinker_client`; this package is what it starts and talks to.
"""

__version__ = "0.1.0"
