"""The official SDK's programs, unchanged, with their sampling in the sidecar.

`install` replaces what the methods of `tinker.SamplingClient` do. `python -m tinker_client script.py` and
`import tinker_client.auto` call it. Before that nothing of `tinker` is imported.
"""

from tinker_client.official.installing import install, uninstall

__all__ = ["install", "uninstall"]
