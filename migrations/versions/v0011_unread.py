"""What was not read: stones that are withdrawn and not read since, and items of a page whose stone could not be told."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """A row a stone, from its withdrawal until its item is in the log; and a column of `run_pages`."""
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
    op.execute("ALTER TABLE run_pages ADD COLUMN nameless integer NOT NULL DEFAULT 0")
    op.execute(
        "COMMENT ON COLUMN run_pages.nameless IS 'Items whose stone cannot be told: the page is read again'"
    )


def downgrade() -> None:
    """Drop both."""
    op.execute("ALTER TABLE run_pages DROP COLUMN nameless")
    op.execute("DROP TABLE unread_stones")
