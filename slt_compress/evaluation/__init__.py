"""Accuracy of a network, whichever backend runs it.

May import `errors`, `progress`, `data`, `ticket`, and of `training` only `device`, `distributed` and
`malloc`.
"""
