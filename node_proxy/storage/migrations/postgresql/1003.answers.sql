-- Answers that are kept for whoever asks for the same again. id: keyed hash of the API key and the Idempotency-Key (or
-- of the request, for an SDK's retry). fingerprint: keyed hash of the request. owner: the process that answers.
-- running: claimed, nothing known yet. ready: what is sent once the charge is made. done: what was sent.
-- lost: charged, and the answer is gone. content: encrypted.
CREATE TABLE answers (
    id BYTEA PRIMARY KEY,
    fingerprint BYTEA NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'ready', 'done', 'lost')),
    owner BIGINT NOT NULL,
    request_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    content BYTEA
);
CREATE INDEX answers_by_expiry ON answers (expires_at);
