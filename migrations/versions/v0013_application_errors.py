"""Errors of our own code, by kind and process."""

from alembic import op

revision = "0013"
down_revision = "0012"

_ERRORS = """
CREATE TABLE application_errors (
    -- Of action, error class and place.
    fingerprint text COLLATE "C" NOT NULL,
    process text NOT NULL,
    action text NOT NULL,
    error text NOT NULL,
    place text NOT NULL,
    text text NOT NULL,
    count bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    trace_id text,
    PRIMARY KEY (fingerprint, process)
)"""


def upgrade() -> None:
    """Make the table."""
    op.execute(_ERRORS)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE application_errors")
