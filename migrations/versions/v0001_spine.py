"""The spine: stones, their price history, feed positions, leases, rule sets, API keys."""

from alembic import op

from schemas.sql import SINK_COLUMNS, STONE_COLUMNS, create_table
from schemas.stone import PUBLIC_FIELDS

revision = "0001"
down_revision = None

# A column is written down once, in the record. This revision makes the columns that existed at stone version 1;
# a field added later says so with `Meta(extra={"since": 2})`, and the revision that comes with it adds the columns
# with that `since`. Old and new databases thus go through the same steps.
_STONE_VERSION = 1
_DIAMONDS = tuple(column for column in STONE_COLUMNS + SINK_COLUMNS if column.since <= _STONE_VERSION)
_PUBLIC = ", ".join(column.name for column in _DIAMONDS if column.name in PUBLIC_FIELDS)

_TABLES = (
    create_table("diamonds", _DIAMONDS, primary_key="id"),
    # Ids are compared byte by byte: the collation of the database costs three times as much a comparison.
    'ALTER TABLE diamonds ALTER COLUMN id TYPE text COLLATE "C"',
    # Free room on each page keeps an update beside its row, without a new index entry.
    "ALTER TABLE diamonds SET (fillfactor = 80)",
    """
CREATE TABLE price_history (
    stone_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    mapper_version bigint NOT NULL,
    rules_version bigint NOT NULL,
    price_cents bigint NOT NULL,
    previous_price_cents bigint,
    currency text NOT NULL,
    cost_cents bigint NOT NULL,
    margin_bps bigint NOT NULL,
    rule text NOT NULL,
    cause text NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (stone_id, seq, rules_version, mapper_version)
)""",
    """
CREATE TABLE feed_positions (
    feed text PRIMARY KEY,
    as_of timestamptz NOT NULL,
    run text NOT NULL,
    raw_offset bigint NOT NULL,
    seq bigint NOT NULL,
    topic_id uuid NOT NULL,
    canonical_offset bigint NOT NULL
)""",
    # Moves in the transaction that writes the rows: a database restored from yesterday reads on from yesterday.
    """
CREATE TABLE sink_positions (
    kafka_partition integer PRIMARY KEY,
    topic_id uuid NOT NULL,
    next_offset bigint NOT NULL,
    -- The topic for which the rows of every former topic were looked through and retired.
    settled_topic_id uuid
)""",
    """
CREATE TABLE leases (
    epoch bigint PRIMARY KEY,
    holder text NOT NULL,
    granted_at timestamptz NOT NULL
)""",
    """
CREATE TABLE rulesets (
    number bigint PRIMARY KEY,
    published_at timestamptz NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    content jsonb NOT NULL
)""",
    """
CREATE TABLE api_keys (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    hash bytea NOT NULL UNIQUE,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    revoked_at timestamptz,
    revoked_by text
)""",
)

_VIEWS = (
    f"""
CREATE VIEW available_diamonds AS
SELECT {_PUBLIC}
FROM diamonds WHERE availability = 'available' AND retired_at IS NULL""",
    f"""
CREATE VIEW retired_diamonds AS
SELECT {_PUBLIC}, retired_at
FROM diamonds WHERE retired_at IS NOT NULL""",
    """
CREATE VIEW price_changes AS
SELECT stone_id, changed_at, previous_price_cents, price_cents,
       price_cents - previous_price_cents AS change_cents,
       currency, rule, rules_version, margin_bps, cause
FROM price_history WHERE previous_price_cents IS NOT NULL""",
    """
CREATE VIEW feed_ages AS
SELECT feed, as_of, now() - as_of AS age FROM feed_positions""",
)

_DROPS = (
    *(
        f"DROP VIEW {view}"
        for view in ("feed_ages", "price_changes", "retired_diamonds", "available_diamonds")
    ),
    *(
        f"DROP TABLE {table}"
        for table in (
            "api_keys",
            "rulesets",
            "leases",
            "sink_positions",
            "feed_positions",
            "price_history",
            "diamonds",
        )
    ),
)


def upgrade() -> None:
    """Make every table and view."""
    for statement in _TABLES + _VIEWS:
        op.execute(statement)


def downgrade() -> None:
    """Drop them all, newest first."""
    for statement in _DROPS:
        op.execute(statement)
