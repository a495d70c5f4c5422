"""The streams: facts in, priced stones out. Normalise and price are pure; the owner and the Faust app wrap them."""
