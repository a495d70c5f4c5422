"""Stone version 3: when a stone was first seen; in price history too, so that an age can be told of any time."""

from alembic import op

from schemas.sql import STONE_COLUMNS

revision = "0015"
down_revision = "0014"

# As in the first revision: what came with this version of the record.
_ADDED = tuple(column for column in STONE_COLUMNS if column.since == 3)


def upgrade() -> None:
    """Add the columns; rows of earlier versions do not tell."""
    for column in _ADDED:
        op.execute(f"ALTER TABLE diamonds ADD COLUMN {column.name} {column.sql_type}")
    op.execute("ALTER TABLE price_history ADD COLUMN first_seen timestamptz")


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE price_history DROP COLUMN first_seen")
    for column in _ADDED:
        op.execute(f"ALTER TABLE diamonds DROP COLUMN {column.name}")
