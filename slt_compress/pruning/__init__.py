"""Trained tickets: weights trained together with gates, or under masks that stay fixed.

May import everything but `comparison`, `assessment`, exports, `api` and `cli`.
"""
