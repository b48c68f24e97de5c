"""What a network is for: the loss that a search minimises, and the metric that it is measured by.

May import `errors`.
"""
