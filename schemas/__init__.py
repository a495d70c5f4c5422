"""Every record of the log, of the shop and of the price tables, each defined once."""
