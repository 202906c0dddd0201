"""Receives frames, decides which to caption first, and delivers every outcome."""
