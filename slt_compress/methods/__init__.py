"""Search methods: a table of them that needs no torch, what they have in common, and one module each.

May import `errors`, `prng` and `masking`; `registry` imports nothing but `errors` until a method is made.
"""
