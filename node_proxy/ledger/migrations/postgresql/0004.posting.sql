-- The books under the names that they have in SQLite, where a row may be behind. Here a capture writes it at once.
CREATE VIEW account_totals (plan, subscriber, captured, charged) AS
    SELECT plan, subscriber, captured, charged FROM accounts;
CREATE VIEW key_totals (key_id, spent) AS SELECT key_id, spent FROM key_spending;

-- In the order of the ids, which ascend: a call appends to it.
DROP INDEX charges_waiting;
CREATE INDEX charges_waiting ON charges (did, plan, id) INCLUDE (subscriber, credits, created) WHERE batch IS NULL;

-- The sum of a claim's books is bounded, so that moving credits between them never fails: only a charge can.
ALTER TABLE claims ADD CONSTRAINT claims_bounded
    CHECK (unsettled + settled + missing + parked <= 9223372036854775807);
