"""Who may ask, and how much: everything that a request passes before a route sees it."""
