"""Pictures behind HTTP, taken when a message tells of motion, or by the clock."""
