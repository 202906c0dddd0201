"""Frigate's tracked objects and reviews as frames: each is described once, at the right moment."""
