"""Harnesses with one deliberate fault each, and the small correct one they are made from."""
