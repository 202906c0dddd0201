"""One file per command; each offers `run`, whose parameters are the command's options."""
