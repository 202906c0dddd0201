"""Requests and their answers: what can be asked and ordered, with the types of both sides."""
