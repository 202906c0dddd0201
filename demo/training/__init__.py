"""How the demonstration model was made and how good it is; not in the wheel."""
