-- What waits is added up from its index alone: a look at it, every few seconds, shares a core with the calls.
DROP INDEX charges_waiting;
CREATE INDEX charges_waiting ON charges (did, plan, subscriber, id, credits, created, batch) WHERE batch IS NULL;
