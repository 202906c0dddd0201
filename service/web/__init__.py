"""The service as the gateway sees it."""
