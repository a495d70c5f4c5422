"""Price history by month, and append-only: a month is a table that can be detached, archived and attached again."""

from alembic import op

revision = "0010"
down_revision = "0009"

_VIEW = """
CREATE VIEW price_changes AS
SELECT stone_id, changed_at, previous_price_cents, price_cents,
       price_cents - previous_price_cents AS change_cents,
       currency, rule, rules_version, margin_bps, cause
FROM price_history WHERE previous_price_cents IS NOT NULL"""

_COLUMNS = """
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
    rate_id text"""

# A key of the whole table would have to hold `changed_at`, and a version that an owner wrote twice has two of those.
# So each month has the key itself; a version is written twice within seconds or not at all.
_MONTH = """
CREATE FUNCTION make_price_history_month(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first date := date_trunc('month', day);
    name text := 'price_history_' || to_char(first, 'YYYY_MM');
BEGIN
    LOCK TABLE price_history IN SHARE UPDATE EXCLUSIVE MODE;  -- two sinks, one month
    IF to_regclass(name) IS NULL THEN
        EXECUTE 'CREATE TABLE ' || name || ' PARTITION OF price_history FOR VALUES FROM ('
            || quote_literal(first || ' 00:00+00') || ') TO ('
            || quote_literal((first + interval '1 month')::date || ' 00:00+00') || ')';
        EXECUTE 'ALTER TABLE ' || name || ' ADD PRIMARY KEY (stone_id, seq, rules_version, mapper_version)';
    END IF;
END $$"""

_REFUSE = """
CREATE FUNCTION refuse_to_change_price_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'price_history is append-only';
END $$"""

_GUARD = """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON price_history
FOR EACH ROW EXECUTE FUNCTION refuse_to_change_price_history()"""

_FILL = (
    "SELECT make_price_history_month(month) FROM (SELECT DISTINCT date_trunc('month', changed_at AT TIME ZONE 'UTC')::date"
    " AS month FROM former_price_history) AS months",
    "SELECT make_price_history_month((now() AT TIME ZONE 'UTC')::date)",
    "SELECT make_price_history_month((now() AT TIME ZONE 'UTC' + interval '1 month')::date)",
)
_NAMES = (
    "stone_id, seq, mapper_version, rules_version, price_cents, previous_price_cents, currency, cost_cents, margin_bps,"
    " rule, cause, changed_at, rate_id"
)
_COPY = f"INSERT INTO price_history ({_NAMES}) SELECT {_NAMES} FROM former_price_history"


def upgrade() -> None:
    """Move the history into months."""
    for statement in (
        "DROP VIEW price_changes",
        "ALTER TABLE price_history RENAME TO former_price_history",
        "DROP INDEX price_history_time",
        f"CREATE TABLE price_history ({_COLUMNS}) PARTITION BY RANGE (changed_at)",
        _MONTH,
        *_FILL,
        _COPY,
        "DROP TABLE former_price_history",
        "CREATE INDEX price_history_time ON price_history (stone_id, changed_at)",
        _REFUSE,
        _GUARD,
        _VIEW,
    ):
        op.execute(statement)


def downgrade() -> None:
    """Back to one table."""
    for statement in (
        "DROP VIEW price_changes",
        "ALTER TABLE price_history RENAME TO former_price_history",
        "DROP FUNCTION make_price_history_month",
        "DROP INDEX price_history_time",
        f"CREATE TABLE price_history ({_COLUMNS}, PRIMARY KEY (stone_id, seq, rules_version, mapper_version))",
        f"{_COPY} ON CONFLICT DO NOTHING",
        "DROP TABLE former_price_history",
        "DROP FUNCTION refuse_to_change_price_history",
        "CREATE INDEX price_history_time ON price_history (stone_id, changed_at)",
        _VIEW,
    ):
        op.execute(statement)
