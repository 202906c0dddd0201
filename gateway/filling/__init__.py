"""JSON schemas are filled by asking: one question for each property, all on one encoding."""
