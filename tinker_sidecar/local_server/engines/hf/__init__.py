"""The engine `transformers`: any causal language model that transformers loads, on this machine.

`engine` has the thread that computes, `checkpoint` what is loaded, `adapters` its LoRA adapters. Prompts are read by
`reading`, which `scoring` tells about, and go on in a `decoding` batch, whose keys and values are in a `kv_cache`.
`sequences` are what comes out. All but this module need torch.
"""
