-- The highest ceiling that each subscriber has signed for `consumed`, under plans that ask for one.
CREATE TABLE vouchers (
    plan BYTEA NOT NULL,
    subscriber BYTEA NOT NULL,
    ceiling BIGINT NOT NULL CHECK (ceiling >= 0),
    signature BYTEA NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (plan, subscriber)
);

-- What the chain didn't take: hardly any entry has it.
CREATE INDEX entries_short ON entries (plan, subscriber) WHERE missing > 0;
