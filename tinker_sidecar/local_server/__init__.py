"""A Tinker API server to run on your own machine: real HTTP, the sampling half of the protocol.

`tinker-sidecar serve` runs it from a shell; `tinker_client.local_server.start_local_server` starts one that
belongs to the calling process and ends with it.
"""
