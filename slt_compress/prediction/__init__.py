"""A finished network at work: images in files -> a class each, and the log of that.

May import `errors`, `files`, `data`, `models`, `tasks`, `ticket` and `evaluation`.
"""
