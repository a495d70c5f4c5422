"""Why a rate was recorded that is far from the one before it."""

from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the column; of rates from before nobody has said why."""
    op.execute("ALTER TABLE rates ADD COLUMN reason text")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE rates DROP COLUMN reason")
