"""One module per command: its docstring is the help text, `arguments` declares the options, `run` does it and returns
the exit code."""
