"""Stones that are withdrawn and not read since: whoever takes the lease next reads them."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """A row a stone, from its withdrawal until its item is in the log."""
    op.execute("""
        CREATE TABLE unread_stones (
            feed text NOT NULL,
            stone text NOT NULL,
            seq bigint NOT NULL,
            PRIMARY KEY (feed, stone)
        )""")
    op.execute(
        "COMMENT ON TABLE unread_stones IS 'Withdrawn for a hold, release or order, and not read since'"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE unread_stones")
