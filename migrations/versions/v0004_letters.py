"""Dead letters as rows with a state; what operators have paused; what they did."""

from alembic import op

revision = "0004"
down_revision = "0003"

_LETTERS = """
CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- topic/partition/offset/index/seq of what was refused: the same item read again is the same letter.
    place text COLLATE "C" NOT NULL UNIQUE,
    feed text NOT NULL,
    stone text,
    seq bigint,
    run text,
    stage text NOT NULL,
    error text NOT NULL,
    field text NOT NULL,
    reason text NOT NULL,
    -- Of stage, error and field; names the group.
    fingerprint text COLLATE "C" NOT NULL,
    -- Null once nothing is to be done with it any more.
    payload bytea,
    is_item boolean NOT NULL,
    is_whole boolean NOT NULL,
    headers jsonb NOT NULL,
    state text NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'retrying', 'resolved', 'discarded')),
    seen bigint NOT NULL DEFAULT 1,
    redrives integer NOT NULL DEFAULT 0,
    returned integer NOT NULL DEFAULT 0,
    job bigint,
    note text,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    settled_at timestamptz,
    settled_by text,
    topic_id uuid NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset bigint NOT NULL
)"""

_INDEXES = (
    "CREATE INDEX dead_letters_fingerprint ON dead_letters (fingerprint, state)",
    "CREATE INDEX dead_letters_position ON dead_letters (topic_id, kafka_partition, kafka_offset)",
)

_GROUPS = """
CREATE VIEW dead_letter_groups AS
SELECT fingerprint, stage, error, field,
       count(*) AS letters,
       count(*) FILTER (WHERE state = 'new') AS new,
       count(*) FILTER (WHERE state = 'retrying') AS retrying,
       count(*) FILTER (WHERE state = 'resolved') AS resolved,
       count(*) FILTER (WHERE state = 'discarded') AS discarded,
       sum(returned)::bigint AS returned,
       min(first_at) AS first_at, max(last_at) AS last_at,
       array_agg(DISTINCT feed) AS feeds,
       (array_agg(reason ORDER BY id DESC))[1] AS example
FROM dead_letters GROUP BY fingerprint, stage, error, field"""

_PAUSES = """
CREATE TABLE pauses (
    -- group: its members leave it; feed: its facts are left unread; waiver: its limits do not count up to the offset.
    what text NOT NULL CHECK (what IN ('group', 'feed', 'waiver')),
    subject text NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    job bigint,
    raw_offset bigint,
    since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (what, subject)
)"""

_ACTIONS = """
CREATE TABLE actions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    details jsonb NOT NULL
)"""


def upgrade() -> None:
    """Make the tables."""
    for statement in (_LETTERS, *_INDEXES, _GROUPS, _PAUSES, _ACTIONS):
        op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP VIEW dead_letter_groups")
    for table in ("actions", "pauses", "dead_letters"):
        op.execute(f"DROP TABLE {table}")
