"""Made-up keys, their everyday traffic and thefts of them. Pure: every draw comes from a seed."""
