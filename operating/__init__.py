"""What an operator does: dead letters, replay, pauses, archive. Each action is one function for command and API."""
