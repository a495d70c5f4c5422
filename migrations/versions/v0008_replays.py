"""What a replay may change, as it was before: an undo brings it back."""

from alembic import op

revision = "0008"
down_revision = "0007"

_IMAGES = """
CREATE TABLE replay_images (
    job bigint NOT NULL,
    stone_id text COLLATE "C" NOT NULL,
    image jsonb NOT NULL,
    PRIMARY KEY (job, stone_id)
)"""

# A restored stone carries the version that it takes the place of: the cause tells the two apart.
_KEY = """
ALTER TABLE price_history DROP CONSTRAINT price_history_pkey,
    ADD PRIMARY KEY (stone_id, seq, rules_version, mapper_version{more})"""


def upgrade() -> None:
    """Make the table; let the key of the history tell a restored price from the one it replaced."""
    op.execute(_IMAGES)
    op.execute(_KEY.format(more=", cause"))


def downgrade() -> None:
    """Undo both; restored prices are forgotten where they stand beside what they replaced."""
    op.execute("DELETE FROM price_history WHERE cause = 'restored'")
    op.execute(_KEY.format(more=""))
    op.execute("DROP TABLE replay_images")
