-- What subscribers own at the node. `data` is encrypted; times are unix seconds, sizes bytes of what is kept.

CREATE TABLE objects (
    subscriber TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    did TEXT NOT NULL,
    parent TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    position BIGINT NOT NULL,
    version BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    size BIGINT NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (subscriber, kind, id)
);
CREATE INDEX objects_in_order ON objects (subscriber, kind, parent, position, id);
CREATE INDEX objects_by_size ON objects (subscriber, size);
CREATE INDEX objects_by_expiry ON objects (expires_at) WHERE expires_at > 0;

-- The long parts of an object: a file's content in pieces, a background response's events in groups.
CREATE TABLE object_parts (
    subscriber TEXT NOT NULL,
    id TEXT NOT NULL,
    number BIGINT NOT NULL,
    upto BIGINT NOT NULL,
    size BIGINT NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (subscriber, id, number)
);
CREATE INDEX object_parts_by_size ON object_parts (subscriber, size);

-- Who works on an object that only one may work on. owner: the process, see `Database.owner`.
CREATE TABLE object_locks (name TEXT PRIMARY KEY, owner BIGINT NOT NULL);
