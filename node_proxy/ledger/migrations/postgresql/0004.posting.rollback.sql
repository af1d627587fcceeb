ALTER TABLE claims DROP CONSTRAINT claims_bounded;
DROP INDEX charges_waiting;
CREATE INDEX charges_waiting ON charges (did, plan, subscriber) INCLUDE (credits, created) WHERE batch IS NULL;
DROP VIEW key_totals;
DROP VIEW account_totals;
