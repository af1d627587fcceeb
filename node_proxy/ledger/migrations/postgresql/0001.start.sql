-- Credits are whole numbers up to 2^63 - 1; times are unix seconds; DIDs, plans and hashes are 32 bytes, accounts 20.

-- One row per (plan, subscriber). balance to units are the chain's word at `block` (NULL: read it again).
-- captured: credits charged that the chain had not applied at `block`. reserved: held for calls in flight, in any
-- process. charged: all credits ever charged.
CREATE TABLE accounts (
    plan BYTEA NOT NULL,
    subscriber BYTEA NOT NULL,
    block BIGINT,
    balance BIGINT NOT NULL DEFAULT 0,
    consumed BIGINT NOT NULL DEFAULT 0,
    expiry BIGINT NOT NULL DEFAULT 0,
    refund_at BIGINT NOT NULL DEFAULT 0,
    units BIGINT NOT NULL DEFAULT 0,
    captured BIGINT NOT NULL DEFAULT 0 CHECK (captured >= 0),
    reserved BIGINT NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    charged BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (plan, subscriber)
);

CREATE TABLE batches (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    did BYTEA NOT NULL,
    plan BYTEA NOT NULL,
    node BYTEA NOT NULL,
    number BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('prepared', 'sent', 'mined', 'confirmed', 'parked')),
    root BYTEA NOT NULL,
    created BIGINT NOT NULL,
    block BIGINT,
    block_hash BYTEA,
    tx_hash BYTEA,
    reason TEXT
);
CREATE UNIQUE INDEX batches_by_number ON batches (did, plan, node, number) WHERE state <> 'parked';
CREATE INDEX batches_open ON batches (state, id) WHERE state <> 'confirmed';

-- The journal: one row per captured call, written once; only `batch` changes.
CREATE TABLE charges (
    id TEXT NOT NULL PRIMARY KEY,
    plan BYTEA NOT NULL,
    subscriber BYTEA NOT NULL,
    did BYTEA NOT NULL,
    credits BIGINT NOT NULL CHECK (credits >= 0),
    usage TEXT,
    flags TEXT NOT NULL,
    key_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    created BIGINT NOT NULL,
    batch BIGINT REFERENCES batches (id)
);
-- Partial, so that a call pays for the index of what waits and never for the index of what is past.
CREATE INDEX charges_waiting ON charges (did, plan, subscriber) WHERE batch IS NULL;
CREATE INDEX charges_of_batch ON charges (batch, subscriber) WHERE batch IS NOT NULL;
CREATE INDEX charges_of_subscriber ON charges (subscriber, id) WHERE batch IS NOT NULL;

-- absorbed: the account's snapshot contains this entry already, so it no longer counts as captured.
CREATE TABLE entries (
    batch BIGINT NOT NULL REFERENCES batches (id),
    subscriber BYTEA NOT NULL,
    plan BYTEA NOT NULL,
    calls BIGINT NOT NULL,
    credits BIGINT NOT NULL,
    missing BIGINT NOT NULL DEFAULT 0,
    block BIGINT,
    absorbed BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (batch, subscriber)
);
CREATE INDEX entries_pending ON entries (plan, subscriber) WHERE absorbed = 0;

CREATE TABLE attempts (
    batch BIGINT NOT NULL REFERENCES batches (id),
    tx_hash BYTEA NOT NULL,
    nonce BIGINT NOT NULL,
    gas BIGINT NOT NULL,
    max_fee BIGINT NOT NULL,
    priority_fee BIGINT,
    raw BYTEA NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (batch, tx_hash)
);

-- The credit side of the books: what each assistant is owed under each plan, by how far it has come.
CREATE TABLE claims (
    did BYTEA NOT NULL,
    plan BYTEA NOT NULL,
    unsettled BIGINT NOT NULL DEFAULT 0,
    settled BIGINT NOT NULL DEFAULT 0,
    missing BIGINT NOT NULL DEFAULT 0,
    parked BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (did, plan)
);

CREATE TABLE key_spending (
    key_id TEXT NOT NULL PRIMARY KEY,
    spent BIGINT NOT NULL DEFAULT 0,
    reserved BIGINT NOT NULL DEFAULT 0 CHECK (reserved >= 0)
);

CREATE TABLE checkpoint (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    block BIGINT NOT NULL,
    block_hash BYTEA NOT NULL,
    seen DOUBLE PRECISION NOT NULL,
    floor BIGINT NOT NULL
);

-- owner: number of the process that holds it; the process holds the advisory lock of that number while it lives.
CREATE TABLE reservations (
    id TEXT NOT NULL PRIMARY KEY,
    plan BYTEA NOT NULL,
    subscriber BYTEA NOT NULL,
    key_id TEXT NOT NULL,
    credits BIGINT NOT NULL CHECK (credits >= 0),
    owner BIGINT NOT NULL,
    created BIGINT NOT NULL
);
CREATE INDEX reservations_by_owner ON reservations (owner);

-- For auditors: every movement twice, once per side, with opposite signs.
CREATE VIEW postings (created, ref, book, credits) AS
    SELECT created, id, 'subscriber ' || encode(plan, 'hex') || ' ' || encode(subscriber, 'hex'), -credits FROM charges
    UNION ALL
    SELECT created, id, 'unsettled ' || encode(did, 'hex') || ' ' || encode(plan, 'hex'), credits FROM charges
    UNION ALL
    SELECT b.created, 'batch ' || b.id, 'unsettled ' || encode(b.did, 'hex') || ' ' || encode(b.plan, 'hex'), -e.credits
    FROM entries e JOIN batches b ON b.id = e.batch WHERE b.state IN ('mined', 'confirmed', 'parked')
    UNION ALL
    SELECT b.created, 'batch ' || b.id, 'parked ' || encode(b.did, 'hex') || ' ' || encode(b.plan, 'hex'), e.credits
    FROM entries e JOIN batches b ON b.id = e.batch WHERE b.state = 'parked'
    UNION ALL
    SELECT b.created, 'batch ' || b.id, 'settled ' || encode(b.did, 'hex') || ' ' || encode(b.plan, 'hex'), e.credits - e.missing
    FROM entries e JOIN batches b ON b.id = e.batch WHERE b.state IN ('mined', 'confirmed')
    UNION ALL
    SELECT b.created, 'batch ' || b.id, 'missing ' || encode(b.did, 'hex') || ' ' || encode(b.plan, 'hex'), e.missing
    FROM entries e JOIN batches b ON b.id = e.batch WHERE b.state IN ('mined', 'confirmed');
