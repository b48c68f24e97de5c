"""Which parts of a network belong together: its neurons, found in its graph, and what is left when some are removed.

May import `errors`, `masking` and `quiet`.
"""
