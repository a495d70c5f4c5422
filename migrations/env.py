"""What alembic runs to render revisions as SQL; `migrations.runner` executes what it renders."""

from alembic import context

# The runner opens the one transaction itself, together with its lock: no BEGIN and COMMIT in the script.
context.configure(dialect_name="postgresql", as_sql=True, transactional_ddl=False)
context.run_migrations()
