"""Feeds engines, keeps their processes alive, collects what they say."""
