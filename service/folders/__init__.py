"""Pictures and clips that cameras drop into folders."""
