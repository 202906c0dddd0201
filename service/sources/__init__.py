"""What brings frames: one file a source; all make the same submissions."""
