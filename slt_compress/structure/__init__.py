"""Which parts of a network belong together: its neurons, found in its graph, and what is left when some are removed.

Whoever wants one of the modules imports it by name.
"""
