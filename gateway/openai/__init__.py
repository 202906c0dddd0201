"""OpenAI's API, as far as a model that answers about pictures can serve it."""
