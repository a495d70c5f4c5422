"""What touches the outside: vendors' feeds, the budget they are read within, Postgres, the simulator."""
