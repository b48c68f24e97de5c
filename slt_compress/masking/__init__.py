"""Masks and the weights they gate: which parameters are gated, how masks are ranked, counted and coded.

May import `errors` and `prng`.
"""
