"""HTTP out: which addresses may be reached, and what an exchange may cost."""
