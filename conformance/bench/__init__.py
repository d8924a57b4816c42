"""The world the suite builds around a harness: one loop, one clock, one trace."""
