"""Labelled images: data sets by name, splits, batches, preprocessing and augmentation.

May import `errors`, `progress`, `tasks` and, for the draws of an augmentation, `prng`.
"""
