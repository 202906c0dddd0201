"""Frigate, as it is spoken to over HTTP."""
