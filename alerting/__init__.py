"""Incidents, routing and delivery: what people are told, once, on every channel that should tell them."""
