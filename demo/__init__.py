"""The demonstration: drawn scenes, cameras that publish them, a model trained on them."""
