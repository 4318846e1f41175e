"""`python -m tinker_sidecar`: the sidecar process. Started by `tinker_client`, not by hand."""

from __future__ import annotations

from tinker_sidecar.daemon import main

if __name__ == "__main__":
    main()
