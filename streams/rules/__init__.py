"""The life of a rule set: drafted, previewed, published, widened, taken back, and what of it happens by itself."""
