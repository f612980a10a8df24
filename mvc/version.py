"""The version of the package, for whoever must not import its public face."""

__version__ = "0.1.0"
