"""Frozen records that cross a boundary, the frame they travel in, and the configuration tree. Pure."""
