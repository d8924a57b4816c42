"""Reading a shell command: into the simple commands that would run, and whether these only read."""
