-- What was charged and isn't posted yet: added to the rows of its account and its API key. One row after the other, so
-- that calls of different accounts write the same page. Whatever changes an account's `captured` posts all of it first.
CREATE TABLE unposted (
    id INTEGER PRIMARY KEY,
    plan BLOB NOT NULL,
    subscriber BLOB NOT NULL,
    key_id TEXT NOT NULL,
    credits INTEGER NOT NULL
) STRICT;

-- The books as they are, posted or not.
CREATE VIEW account_totals (plan, subscriber, captured, charged) AS
    SELECT plan, subscriber, SUM(captured), SUM(charged) FROM (
        SELECT plan, subscriber, captured, charged FROM accounts
        UNION ALL SELECT plan, subscriber, credits, credits FROM unposted
    ) GROUP BY plan, subscriber;
CREATE VIEW key_totals (key_id, spent) AS
    SELECT key_id, SUM(spent) FROM (
        SELECT key_id, spent FROM key_spending UNION ALL SELECT key_id, credits FROM unposted
    ) GROUP BY key_id;

-- In the order of the ids, which ascend: a call appends to it.
DROP INDEX charges_waiting;
CREATE INDEX charges_waiting ON charges (did, plan, id, subscriber, credits, created, batch) WHERE batch IS NULL;

-- The sum of a claim's books is bounded, so that moving credits between them never fails: only a charge can.
CREATE TABLE bounded_claims (
    did BLOB NOT NULL,
    plan BLOB NOT NULL,
    unsettled INTEGER NOT NULL DEFAULT 0,
    settled INTEGER NOT NULL DEFAULT 0,
    missing INTEGER NOT NULL DEFAULT 0,
    parked INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (did, plan),
    CHECK (unsettled + settled + missing + parked <= 9223372036854775807)
) STRICT, WITHOUT ROWID;
INSERT INTO bounded_claims SELECT did, plan, unsettled, settled, missing, parked FROM claims;
DROP TABLE claims;
ALTER TABLE bounded_claims RENAME TO claims;
