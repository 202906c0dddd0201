"""Our own endpoints: one file a group of `schemas.requests.table`, and what only HTTP has."""
