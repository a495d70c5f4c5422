"""One file a fault: provoke it against real servers and say whether the promise held."""
