"""A little more than half of each page of `diamonds` is left free, and vacuum leaves to updates what they clear away themselves.

With exactly half left free, a page that is full of rows has no room for the pointers to their next versions: one row
goes to another page, fills that one up and drives the next row out, until in a re-pricing two of five updates missed
their page, each with a new index entry.

Every sweep and every re-pricing updates every row. Each thus has a dead version on its own page most of the time, which
its next update clears away, and no page stays marked as visible to all: vacuum is for dead rows beyond that, and what
the planner knows is read anew when there were as many changes as there are rows. The million are for a stock that was
just filled, of whose rows Postgres knows few until it has counted them.
"""

from alembic import op

revision = "0016"
down_revision = "0015"

_OPTIONS = {
    "autovacuum_vacuum_threshold": "1000000",
    "autovacuum_vacuum_scale_factor": "1.2",
    "autovacuum_vacuum_insert_threshold": "-1",
    "autovacuum_analyze_scale_factor": "1",
}


def upgrade() -> None:
    """Leave 52 % of each new page free; vacuum where there are more dead rows than updates leave, not after inserts."""
    options = ", ".join(f"{name} = {value}" for name, value in {"fillfactor": "48", **_OPTIONS}.items())
    op.execute(f"ALTER TABLE diamonds SET ({options})")


def downgrade() -> None:
    """Leave half of it free, and vacuum as everywhere."""
    op.execute("ALTER TABLE diamonds SET (fillfactor = 50)")
    op.execute(f"ALTER TABLE diamonds RESET ({', '.join(_OPTIONS)})")
