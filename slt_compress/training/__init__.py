"""Optimisation: the search for a mask, the loop it shares with dense training, checkpoints, several processes.

May import `config`, `errors`, `files`, `progress`, `prng`, `data`, `masking`, `methods` and `tasks`.
"""
