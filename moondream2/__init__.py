"""Moondream2 in plain torch: pixels and prompts in, text and boxes out."""
