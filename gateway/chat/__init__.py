"""What the chat interfaces (OpenAI's, Ollama's) have in common: one question about one picture."""
