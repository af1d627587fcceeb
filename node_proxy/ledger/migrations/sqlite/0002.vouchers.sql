-- The highest ceiling that each subscriber has signed for `consumed`, under plans that ask for one.
CREATE TABLE vouchers (
    plan BLOB NOT NULL,
    subscriber BLOB NOT NULL,
    ceiling INTEGER NOT NULL CHECK (ceiling >= 0),
    signature BLOB NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (plan, subscriber)
) STRICT, WITHOUT ROWID;

-- What the chain didn't take: hardly any entry has it.
CREATE INDEX entries_short ON entries (plan, subscriber) WHERE missing > 0;
