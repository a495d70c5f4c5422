"""A second vendor, of another shape: REST, pages of a thousand, float dollars, words of its own. All of it is here."""
