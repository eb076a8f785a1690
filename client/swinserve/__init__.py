"""Client of a Swinserve service."""

__version__ = "0.1.0"
