"""The SQL schema, forwards and back, as alembic revisions in plain SQL."""
