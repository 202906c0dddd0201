"""What can be asked and ordered: one typed function per request, the same for MQTT and HTTP."""
