"""Commands under injected faults: what becomes of each, in virtual time. `python -m benchmarks.containment_faults`."""
