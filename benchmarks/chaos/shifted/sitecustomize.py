"""Python imports this at its start where this folder is on PYTHONPATH: before anything has taken the clock."""

from __future__ import annotations

import os

from benchmarks.chaos.clock_shift import VARIABLE, install

if VARIABLE in os.environ:
    install(os.environ[VARIABLE])
