"""Ollama's API: what Home Assistant, Frigate and LLM Vision speak to a model of one's own."""
