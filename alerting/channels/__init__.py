"""The places people are told at. One module per kind; `build.py` picks, `memory.py` is the one for tests and demos."""
