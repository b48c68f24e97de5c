"""Before a search: what a network costs, what a short pilot promises, and what to do.

May import everything but `api` and `cli`.
"""
