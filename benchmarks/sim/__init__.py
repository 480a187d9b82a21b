"""Seeded histories of the usage pipeline: the very stages, a broker and a store in memory, and all that goes wrong.

`make sim` plays 100,000 of them. docs/reliability.md says what they prove and what they do not.
"""
