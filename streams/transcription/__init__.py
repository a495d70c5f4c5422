"""Items of a page to contents without a Python object a value, in machine code; see `transcriber`."""
