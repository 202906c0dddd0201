"""From a message of a camera or a foreign system to a frame; a file per kind."""
