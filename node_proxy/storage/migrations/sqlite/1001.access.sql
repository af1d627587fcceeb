-- Takes over the tables of files that were made before migrations were kept for them.
-- Times are unix seconds, budgets are credits, hashes are keyed.

CREATE TABLE IF NOT EXISTS api_keys (
    id TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    subscriber TEXT NOT NULL,
    name TEXT NOT NULL,
    budget INTEGER,
    expires_at INTEGER,
    dids TEXT,
    manage INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS api_keys_by_subscriber ON api_keys (subscriber, created_at);

CREATE TABLE IF NOT EXISTS key_uses (id TEXT PRIMARY KEY, last_used_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- One row, counted up in the transaction of every revocation: whoever remembers keys watches it.
CREATE TABLE key_revocations (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL) STRICT;
INSERT INTO key_revocations VALUES (1, 0);

CREATE TABLE IF NOT EXISTS sessions (
    hash BLOB PRIMARY KEY,
    subscriber TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sessions_by_expiry ON sessions (expires_at);

CREATE TABLE IF NOT EXISTS used_nonces (nonce TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS used_nonces_by_expiry ON used_nonces (expires_at);

-- Assets that once named this node, and up to which block the registry's logs were searched for them.
CREATE TABLE IF NOT EXISTS assistants (did BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS searched (scope TEXT PRIMARY KEY, block INTEGER NOT NULL) STRICT, WITHOUT ROWID;
