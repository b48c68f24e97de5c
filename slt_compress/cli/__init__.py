"""The command line: one module a command, shared options, the console, and messages with exit codes.

May import everything. Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""
