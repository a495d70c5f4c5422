"""A topic read by its batches: for a reader to whom a Python object a record is too much."""
