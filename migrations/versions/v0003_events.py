"""Events that somebody should know of, whom they were sent to, and every attempt."""

from alembic import op

revision = "0003"
down_revision = "0002"

_TABLES = (
    """
CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    severity text NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    text text NOT NULL,
    -- How often it was recorded while it was open, and when last.
    count bigint NOT NULL DEFAULT 1,
    last_at timestamptz NOT NULL,
    resolved_at timestamptz,
    actor text NOT NULL,
    trace_id text
)""",
    "CREATE UNIQUE INDEX events_open ON events (kind, subject) WHERE resolved_at IS NULL",
    "CREATE INDEX events_by_time ON events (at)",
    # One row an event and phase: who sends it takes the row, so that two monitors never send the same.
    """
CREATE TABLE notices (
    event_id bigint NOT NULL REFERENCES events ON DELETE CASCADE,
    phase text NOT NULL,
    state text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL,
    settled_at timestamptz,
    PRIMARY KEY (event_id, phase)
)""",
    "CREATE INDEX notices_waiting ON notices (next_at) WHERE settled_at IS NULL",
    """
CREATE TABLE deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id bigint NOT NULL REFERENCES events ON DELETE CASCADE,
    phase text NOT NULL,
    channel text NOT NULL,
    at timestamptz NOT NULL,
    delivered boolean NOT NULL,
    detail text NOT NULL
)""",
    "CREATE INDEX deliveries_by_event ON deliveries (event_id)",
)


def upgrade() -> None:
    """Make the tables."""
    for statement in _TABLES:
        op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    for table in ("deliveries", "notices", "events"):
        op.execute(f"DROP TABLE {table}")
