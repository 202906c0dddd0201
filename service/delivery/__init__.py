"""The exit: from an outcome to everything that must go out, and out it goes."""
