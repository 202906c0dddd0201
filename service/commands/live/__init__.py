"""The parts of the live view: what they know, how they lay it out, and how a terminal draws it."""
