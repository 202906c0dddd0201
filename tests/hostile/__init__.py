"""A corpus of hostile messages, and what must become of each.

`families/` is the corpus: a file for each kind of trouble, all data (`case.py` has the words).
`run.py` sends it to the real service over MQTT 3.1.1 and 5 and judges every answer from outside.
The tests send each message once, `make soak` in every way, as does `python -m tests.hostile`, which
prints a table; `--help` says what else it can.

A new case is a line in its family. A new family is a file with a function `cases` and a line in
`corpus.py`.
"""
