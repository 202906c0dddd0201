"""MQTT: topics, wire format, connections. Knows `schemas`, not the service."""
