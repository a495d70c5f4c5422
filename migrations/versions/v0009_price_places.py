"""From a fact's seq to its page in the raw log: what an explanation of a price stands on."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Index the pages by seq, and the history by stone and time."""
    op.execute("CREATE INDEX run_pages_seq ON run_pages (seq)")
    op.execute("CREATE INDEX price_history_time ON price_history (stone_id, changed_at)")


def downgrade() -> None:
    """Drop both."""
    op.execute("DROP INDEX price_history_time")
    op.execute("DROP INDEX run_pages_seq")
