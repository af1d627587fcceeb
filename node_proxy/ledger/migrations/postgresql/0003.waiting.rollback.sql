DROP INDEX charges_waiting;
CREATE INDEX charges_waiting ON charges (did, plan, subscriber) WHERE batch IS NULL;
