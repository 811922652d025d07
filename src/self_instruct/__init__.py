"""Self-Instruct on one machine: a model writes its own instruction data, is tuned on it, and is measured."""

__version__ = "0.1.0"
