"""A chat server for AI agents that stops the moment you say so, on any backend."""

__version__ = "1.0.0"
