"""The parts of the pytest plugin that are loaded only when a harness is tested."""
