"""Count streaming events per group and time window, exactly once, the moment they arrive."""

__version__ = "0.1.0"
