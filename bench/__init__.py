"""Benchmarks: a file per question. Each prints its figures and the machine; none asserts."""
