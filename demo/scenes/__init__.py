"""Synthetic surveillance scenes: what is there (`scene`), and how it looks (`render`).

A scene is data and a seed; drawing it twice gives the same pixels. The ground truth comes from the
data, never from the pixels, so a caption made from it is true by construction.
"""
