"""Labelled examples: data sets by name and the user's own, splits, batches, preprocessing and augmentation.

May import `errors`, `files`, `progress`, `tasks` and, for the draws of an augmentation, `prng`.
"""
