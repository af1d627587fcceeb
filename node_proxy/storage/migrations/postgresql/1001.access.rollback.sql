DROP TABLE searched;
DROP TABLE assistants;
DROP TABLE used_nonces;
DROP TABLE sessions;
DROP TABLE key_revocations;
DROP TABLE key_uses;
DROP TABLE api_keys;
