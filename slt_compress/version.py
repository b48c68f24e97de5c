"""The version of the package: read by the build, the command line, and whatever records who wrote a file."""

__version__ = "0.1.0"
