"""What a rule set makes of stones: one at a time, all at once, and tried before it is published. Pure but for `stock`."""
