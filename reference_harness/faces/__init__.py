"""How people and programs reach the harness."""
