"""The engine `transformers`: any causal language model that transformers loads, on this machine.

`engine` has the thread that computes, `checkpoint` what is loaded, `adapters` what changes it. A request is
a job of `sequences`. Its prompt is read by `reading`, and scored by `scoring`; from there on its samples are
sequences of a `batch`, whose keys and values are in `rows` of a `kv_cache`. `sampling` draws tokens. All but
this module need torch.
"""

from __future__ import annotations

import os

# OpenMP's threads spin while they wait. On cores that others need, too, that made a small model forty times
# slower. This is read when torch is first imported, which is later.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
