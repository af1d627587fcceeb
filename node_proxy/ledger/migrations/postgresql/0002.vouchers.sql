-- The highest ceiling that each subscriber has signed for `consumed`, under plans that ask for one.
CREATE TABLE vouchers (
    plan BYTEA NOT NULL,
    subscriber BYTEA NOT NULL,
    ceiling BIGINT NOT NULL CHECK (ceiling >= 0),
    signature BYTEA NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (plan, subscriber)
);
