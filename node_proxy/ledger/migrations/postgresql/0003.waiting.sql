-- What waits is added up from its index alone.
DROP INDEX charges_waiting;
CREATE INDEX charges_waiting ON charges (did, plan, subscriber) INCLUDE (credits, created) WHERE batch IS NULL;
