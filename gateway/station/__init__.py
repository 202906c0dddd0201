"""What Moondream Station and the galleries in front of it have beside Moondream's API."""
