"""A file without an adapter class."""
