"""What Home Assistant is told so that it shows the cameras and the service by itself."""
