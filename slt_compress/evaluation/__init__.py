"""What a network is worth on a split, whichever backend runs it.

May import `errors`, `progress`, `data`, `tasks`, `models.source`, `ticket`, and of `training` only `device`,
`distributed` and `malloc`.
"""
