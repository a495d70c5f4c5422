"""Jobs: every long action, who asked for it, how far it is."""

from alembic import op

revision = "0002"
down_revision = "0001"

_JOBS = """
CREATE TABLE jobs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    subject text NOT NULL,
    request jsonb NOT NULL,
    actor text NOT NULL,
    state text NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
    done bigint NOT NULL DEFAULT 0,
    -- Null while nobody knows how much there is to do.
    total bigint,
    unit text NOT NULL,
    -- Where whoever takes the job over goes on.
    checkpoint jsonb,
    result jsonb,
    failure text,
    runner text,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    -- When and where the present runner's first progress was seen: joining and loading are no part of the pace.
    paced_from timestamptz,
    paced_done bigint NOT NULL DEFAULT 0,
    moved_at timestamptz,
    beat_at timestamptz,
    finished_at timestamptz,
    cancelled_by text
)"""

# Two replays of one feed at once would each undo what the other assumes.
_ONE_AT_A_TIME = """
CREATE UNIQUE INDEX jobs_one_at_a_time ON jobs (kind, subject) WHERE state IN ('waiting', 'running')"""


def upgrade() -> None:
    """Make the table."""
    op.execute(_JOBS)
    op.execute(_ONE_AT_A_TIME)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE jobs")
