"""Where committed jobs wait for an engine."""
