"""One file a claim about speed: what is measured, beside what, in the same run."""
