"""Monitor: what an operator sees, and what people are told of."""
