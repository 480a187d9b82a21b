"""The gate: answers, before each call, whether it may be made; and takes back what was reserved for it, after."""
