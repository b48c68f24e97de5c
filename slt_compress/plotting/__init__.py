"""What all plots share.

May import nothing of the package.
"""
