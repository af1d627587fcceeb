-- Credits are whole numbers up to 2^63 - 1; times are unix seconds; DIDs, plans and hashes are 32 bytes, accounts 20.

-- One row per (plan, subscriber). balance to units are the chain's word at `block` (NULL: read it again).
-- captured: credits charged that the chain had not applied at `block`. charged: all credits ever charged.
CREATE TABLE accounts (
    plan BLOB NOT NULL,
    subscriber BLOB NOT NULL,
    block INTEGER,
    balance INTEGER NOT NULL DEFAULT 0,
    consumed INTEGER NOT NULL DEFAULT 0,
    expiry INTEGER NOT NULL DEFAULT 0,
    refund_at INTEGER NOT NULL DEFAULT 0,
    units INTEGER NOT NULL DEFAULT 0,
    captured INTEGER NOT NULL DEFAULT 0 CHECK (captured >= 0),
    charged INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (plan, subscriber)
) STRICT, WITHOUT ROWID;

-- The journal: one row per captured call, written once; only `batch` changes.
CREATE TABLE charges (
    id TEXT NOT NULL PRIMARY KEY,
    plan BLOB NOT NULL,
    subscriber BLOB NOT NULL,
    did BLOB NOT NULL,
    credits INTEGER NOT NULL CHECK (credits >= 0),
    usage TEXT,
    flags TEXT NOT NULL,
    key_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    created INTEGER NOT NULL,
    batch INTEGER REFERENCES batches (id)
) STRICT, WITHOUT ROWID;
-- Partial, so that a call pays for the index of what waits and never for the index of what is past.
CREATE INDEX charges_waiting ON charges (did, plan, subscriber) WHERE batch IS NULL;
CREATE INDEX charges_of_batch ON charges (batch, subscriber) WHERE batch IS NOT NULL;
CREATE INDEX charges_of_subscriber ON charges (subscriber, id) WHERE batch IS NOT NULL;

CREATE TABLE batches (
    id INTEGER PRIMARY KEY,
    did BLOB NOT NULL,
    plan BLOB NOT NULL,
    node BLOB NOT NULL,
    number INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('prepared', 'sent', 'mined', 'confirmed', 'parked')),
    root BLOB NOT NULL,
    created INTEGER NOT NULL,
    block INTEGER,
    block_hash BLOB,
    tx_hash BLOB,
    reason TEXT
) STRICT;
CREATE UNIQUE INDEX batches_by_number ON batches (did, plan, node, number) WHERE state <> 'parked';
CREATE INDEX batches_open ON batches (state, id) WHERE state <> 'confirmed';

-- absorbed: the account's snapshot contains this entry already, so it no longer counts as captured.
CREATE TABLE entries (
    batch INTEGER NOT NULL REFERENCES batches (id),
    subscriber BLOB NOT NULL,
    plan BLOB NOT NULL,
    calls INTEGER NOT NULL,
    credits INTEGER NOT NULL,
    missing INTEGER NOT NULL DEFAULT 0,
    block INTEGER,
    absorbed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (batch, subscriber)
) STRICT, WITHOUT ROWID;
CREATE INDEX entries_pending ON entries (plan, subscriber) WHERE absorbed = 0;

CREATE TABLE attempts (
    batch INTEGER NOT NULL REFERENCES batches (id),
    tx_hash BLOB NOT NULL,
    nonce INTEGER NOT NULL,
    gas INTEGER NOT NULL,
    max_fee INTEGER NOT NULL,
    priority_fee INTEGER,
    raw BLOB NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (batch, tx_hash)
) STRICT, WITHOUT ROWID;

-- The credit side of the books: what each assistant is owed under each plan, by how far it has come.
CREATE TABLE claims (
    did BLOB NOT NULL,
    plan BLOB NOT NULL,
    unsettled INTEGER NOT NULL DEFAULT 0,
    settled INTEGER NOT NULL DEFAULT 0,
    missing INTEGER NOT NULL DEFAULT 0,
    parked INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (did, plan)
) STRICT, WITHOUT ROWID;

CREATE TABLE key_spending (
    key_id TEXT NOT NULL PRIMARY KEY,
    spent INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoint (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    block INTEGER NOT NULL,
    block_hash BLOB NOT NULL,
    seen REAL NOT NULL,
    floor INTEGER NOT NULL
) STRICT;

-- For auditors: every movement twice, once per side, with opposite signs.
CREATE VIEW postings (created, ref, book, credits) AS
    SELECT created, id, 'subscriber ' || lower(hex(plan)) || ' ' || lower(hex(subscriber)), -credits FROM charges
    UNION ALL
    SELECT created, id, 'unsettled ' || lower(hex(did)) || ' ' || lower(hex(plan)), credits FROM charges
    UNION ALL
    SELECT b.created, 'batch ' || b.id, 'unsettled ' || lower(hex(b.did)) || ' ' || lower(hex(b.plan)), -e.credits
    FROM entries e JOIN batches b ON b.id = e.batch WHERE b.state IN ('mined', 'confirmed', 'parked')
    UNION ALL
    SELECT b.created, 'batch ' || b.id, 'parked ' || lower(hex(b.did)) || ' ' || lower(hex(b.plan)), e.credits
    FROM entries e JOIN batches b ON b.id = e.batch WHERE b.state = 'parked'
    UNION ALL
    SELECT b.created, 'batch ' || b.id, 'settled ' || lower(hex(b.did)) || ' ' || lower(hex(b.plan)), e.credits - e.missing
    FROM entries e JOIN batches b ON b.id = e.batch WHERE b.state IN ('mined', 'confirmed')
    UNION ALL
    SELECT b.created, 'batch ' || b.id, 'missing ' || lower(hex(b.did)) || ' ' || lower(hex(b.plan)), e.missing
    FROM entries e JOIN batches b ON b.id = e.batch WHERE b.state IN ('mined', 'confirmed');
