"""Stone version 2: a rating, and the exchange rate a price was made with."""

from alembic import op

from schemas.sql import STONE_COLUMNS

revision = "0005"
down_revision = "0004"

# As in the first revision: what came with this version of the record.
_ADDED = tuple(column for column in STONE_COLUMNS if column.since == 2)


def upgrade() -> None:
    """Add the columns; rows of version 1 have neither."""
    for column in _ADDED:
        op.execute(f"ALTER TABLE diamonds ADD COLUMN {column.name} {column.sql_type}")
    op.execute("ALTER TABLE price_history ADD COLUMN rate_id text")


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE price_history DROP COLUMN rate_id")
    for column in _ADDED:
        op.execute(f"ALTER TABLE diamonds DROP COLUMN {column.name}")
