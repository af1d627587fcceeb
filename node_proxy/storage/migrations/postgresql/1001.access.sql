-- Times are unix seconds, budgets are credits, hashes are keyed.

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    hash BYTEA NOT NULL UNIQUE,
    subscriber TEXT NOT NULL,
    name TEXT NOT NULL,
    budget BIGINT,
    expires_at BIGINT,
    dids TEXT,
    manage BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX api_keys_by_subscriber ON api_keys (subscriber, created_at);

CREATE TABLE key_uses (id TEXT PRIMARY KEY, last_used_at BIGINT NOT NULL);

-- One row, counted up in the transaction of every revocation: whoever remembers keys watches it.
CREATE TABLE key_revocations (id BIGINT PRIMARY KEY CHECK (id = 1), version BIGINT NOT NULL);
INSERT INTO key_revocations VALUES (1, 0);

CREATE TABLE sessions (
    hash BYTEA PRIMARY KEY,
    subscriber TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE used_nonces (nonce TEXT PRIMARY KEY, expires_at BIGINT NOT NULL);
CREATE INDEX used_nonces_by_expiry ON used_nonces (expires_at);

-- Assets that once named this node, and up to which block the registry's logs were searched for them.
CREATE TABLE assistants (did BYTEA PRIMARY KEY);
CREATE TABLE searched (scope TEXT PRIMARY KEY, block BIGINT NOT NULL);
