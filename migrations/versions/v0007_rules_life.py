"""The life of rule sets: whole records, what each changed and why it was let through, drafts, exchange rates."""

from alembic import op

revision = "0007"
down_revision = "0006"

_UP = (
    """
ALTER TABLE rulesets
    -- The whole record of pricing.rulesets; null for numbers older than this revision, which are their content.
    ADD COLUMN record jsonb,
    ADD COLUMN cause text NOT NULL DEFAULT 'publish',
    -- The number it was made from.
    ADD COLUMN base bigint,
    ADD COLUMN draft bigint,
    ADD COLUMN diff jsonb,
    -- What the preview said, and the reason for which broken guardrails were overridden.
    ADD COLUMN report jsonb,
    ADD COLUMN override_reason text,
    -- Null until Kafka has it.
    ADD COLUMN delivered_at timestamptz""",
    # Until now a number was in Kafka before anybody was told of it, or brought there at the next start.
    "UPDATE rulesets SET delivered_at = published_at",
    "CREATE INDEX rulesets_undelivered ON rulesets (number) WHERE delivered_at IS NULL",
    """
CREATE TABLE rule_drafts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    note text NOT NULL,
    base bigint NOT NULL,
    content jsonb NOT NULL,
    state text NOT NULL DEFAULT 'draft' CHECK (state IN ('draft', 'previewed', 'published', 'discarded')),
    previewed_at timestamptz,
    report jsonb,
    -- The number it was published under.
    number bigint,
    ended_at timestamptz,
    ended_by text
)""",
    """
CREATE TABLE rates (
    id text PRIMARY KEY,
    currency text NOT NULL,
    ppm bigint NOT NULL,
    at timestamptz NOT NULL,
    source text NOT NULL,
    actor text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz
)""",
    "CREATE INDEX rates_latest ON rates (currency, at DESC)",
)

_DOWN = (
    "DROP TABLE rates",
    "DROP TABLE rule_drafts",
    """
ALTER TABLE rulesets
    DROP COLUMN record, DROP COLUMN cause, DROP COLUMN base, DROP COLUMN draft, DROP COLUMN diff,
    DROP COLUMN report, DROP COLUMN override_reason, DROP COLUMN delivered_at""",
)


def upgrade() -> None:
    """Make columns and tables."""
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    for statement in _DOWN:
        op.execute(statement)
