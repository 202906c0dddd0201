"""Moondream's own API, as its public clients and Moondream Station speak it."""
