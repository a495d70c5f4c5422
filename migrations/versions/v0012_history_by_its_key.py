"""A stone's price history is found by its key, which begins with the stone; a second index cost a tenth of every insert."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Drop the index by stone and time."""
    op.execute("DROP INDEX price_history_time")


def downgrade() -> None:
    """Make it again."""
    op.execute("CREATE INDEX price_history_time ON price_history (stone_id, changed_at)")
