"""One engine process per device; its two sides meet only in `protocol`."""
