"""Runs as the raw log tells them, their pages and receipts, and what operators asked for."""

from alembic import op

revision = "0006"
down_revision = "0005"

_TABLES = (
    """
CREATE TABLE runs (
    run text COLLATE "C" PRIMARY KEY,
    feed text NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    attempt integer NOT NULL DEFAULT 1,
    requested_at timestamptz NOT NULL DEFAULT now(),
    requested_by text NOT NULL,
    due_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    moved_at timestamptz NOT NULL DEFAULT now(),
    -- From the plan.
    watermark timestamptz,
    updated_from timestamptz,
    counted bigint,
    first_seq bigint,
    plan bytea,
    plan_offset bigint,
    splits bytea[] NOT NULL DEFAULT '{}',
    -- From the completion, which names the re-reads that must be in the log, as JSON.
    ended_at timestamptz,
    ended_offset bigint,
    pages bigint,
    rows bigint,
    rereads jsonb,
    forced boolean NOT NULL DEFAULT false,
    -- The settled ledger, and what came of the sweep's retirement.
    ledger jsonb,
    retirement text,
    retirement_detail jsonb,
    retirement_actor text,
    archived_at timestamptz
)""",
    "CREATE INDEX runs_newest ON runs (requested_at DESC, run DESC)",
    "CREATE INDEX runs_newest_of_feed ON runs (feed, kind, requested_at DESC)",
    "CREATE INDEX runs_open ON runs (feed, kind) WHERE state IN ('pending', 'running')",
    "CREATE INDEX runs_unarchived ON runs (ended_at) WHERE archived_at IS NULL",
    """
CREATE TABLE run_transitions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    from_state text,
    to_state text NOT NULL,
    cause text NOT NULL,
    actor text NOT NULL
)""",
    "CREATE INDEX run_transitions_of_run ON run_transitions (run, id)",
    # Exactly one completed event a run, whatever is read or written twice.
    "CREATE UNIQUE INDEX run_completed_once ON run_transitions (run) WHERE to_state = 'completed'",
    """
CREATE TABLE run_partitions (
    run text COLLATE "C" NOT NULL,
    number integer NOT NULL,
    slice jsonb NOT NULL,
    estimate bigint NOT NULL,
    actual bigint NOT NULL DEFAULT 0,
    end_page integer,
    split_into integer[],
    ended_at timestamptz,
    PRIMARY KEY (run, number)
)""",
    """
CREATE TABLE run_pages (
    run text COLLATE "C" NOT NULL,
    raw_offset bigint NOT NULL,
    partition integer NOT NULL,
    page integer NOT NULL,
    reread integer NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    rows integer NOT NULL,
    PRIMARY KEY (run, raw_offset)
)""",
    # A receipt is one row: its items as arrays, 50 of them a page. The first one of a raw record counts.
    """
CREATE TABLE receipts (
    run text COLLATE "C" NOT NULL,
    raw_offset bigint NOT NULL,
    feed text NOT NULL,
    partition integer NOT NULL,
    page integer NOT NULL,
    reread integer NOT NULL,
    seq bigint NOT NULL,
    stones text[] NOT NULL,
    outcomes smallint[] NOT NULL,
    PRIMARY KEY (run, raw_offset)
)""",
    """
CREATE TABLE feed_watermarks (
    feed text PRIMARY KEY,
    watermark timestamptz NOT NULL,
    run text,
    actor text NOT NULL,
    at timestamptz NOT NULL
)""",
    # Moves in the transaction that writes what was read: a database restored from yesterday reads on from yesterday.
    """
CREATE TABLE log_positions (
    topic text NOT NULL,
    kafka_partition integer NOT NULL,
    topic_id text NOT NULL,
    next_offset bigint NOT NULL,
    highest_epoch bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, kafka_partition)
)""",
    """
CREATE TABLE run_actions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    action text NOT NULL,
    run text,
    feed text,
    value jsonb NOT NULL DEFAULT '{}',
    actor text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz,
    outcome text
)""",
    "CREATE INDEX run_actions_open ON run_actions (due_at) WHERE done_at IS NULL",
)

_DROPS = (
    *("run_actions", "log_positions", "feed_watermarks", "receipts", "run_pages", "run_partitions"),
    *("run_transitions", "runs"),
)


def upgrade() -> None:
    """Make every table."""
    for statement in _TABLES:
        op.execute(statement)


def downgrade() -> None:
    """Drop them all."""
    for table in _DROPS:
        op.execute(f"DROP TABLE {table}")
