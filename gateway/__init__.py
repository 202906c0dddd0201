"""HTTP: what `broker` is to MQTT. Translates requests to frames and operations, decides nothing."""
