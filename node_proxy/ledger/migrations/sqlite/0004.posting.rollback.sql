CREATE TABLE unbounded_claims (
    did BLOB NOT NULL,
    plan BLOB NOT NULL,
    unsettled INTEGER NOT NULL DEFAULT 0,
    settled INTEGER NOT NULL DEFAULT 0,
    missing INTEGER NOT NULL DEFAULT 0,
    parked INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (did, plan)
) STRICT, WITHOUT ROWID;
INSERT INTO unbounded_claims SELECT did, plan, unsettled, settled, missing, parked FROM claims;
DROP TABLE claims;
ALTER TABLE unbounded_claims RENAME TO claims;
DROP INDEX charges_waiting;
CREATE INDEX charges_waiting ON charges (did, plan, subscriber, id, credits, created, batch) WHERE batch IS NULL;
DROP VIEW key_totals;
DROP VIEW account_totals;
INSERT INTO accounts (plan, subscriber, captured, charged)
    SELECT plan, subscriber, SUM(credits), SUM(credits) FROM unposted WHERE true GROUP BY plan, subscriber
    ON CONFLICT (plan, subscriber) DO UPDATE SET
    captured = captured + excluded.captured, charged = charged + excluded.charged;
INSERT INTO key_spending (key_id, spent)
    SELECT key_id, SUM(credits) FROM unposted WHERE true GROUP BY key_id
    ON CONFLICT (key_id) DO UPDATE SET spent = spent + excluded.spent;
DROP TABLE unposted;
