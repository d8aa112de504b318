-- Who may do what, and what was done. Times are milliseconds since the Unix epoch.

CREATE TABLE principals (
    id {{id}},
    name TEXT {{ordered}} NOT NULL UNIQUE,
    -- user or robot
    kind TEXT NOT NULL,
    -- 1: administers the whole registry.
    admin BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL
);

CREATE TABLE credentials (
    id {{id}},
    principal_id BIGINT NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    -- password: secret is an argon2id hash in PHC form. token: secret is the SHA-256 of the token.
    kind TEXT NOT NULL,
    secret TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    -- NULL: never.
    expires_at BIGINT
);
CREATE INDEX credentials_by_principal ON credentials (principal_id);

-- Offers to make the first administrator. Any of them will do, once.
CREATE TABLE bootstrap (
    -- SHA-256 of what was offered.
    secret TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
);

CREATE TABLE organisations (
    id {{id}},
    name TEXT {{ordered}} NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

-- By name, not by row: the users of an htpasswd file have no row. Deleting a principal deletes its memberships.
CREATE TABLE memberships (
    organisation_id BIGINT NOT NULL REFERENCES organisations (id) ON DELETE CASCADE,
    principal TEXT {{ordered}} NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (organisation_id, principal)
);
CREATE INDEX memberships_by_principal ON memberships (principal);

-- Keys of bearer tokens. The newest signs, all of them verify. Whoever reads this table can make tokens.
CREATE TABLE signing_keys (
    id {{id}},
    private_key {{bytes}} NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE audit_events (
    id {{id}},
    at BIGINT NOT NULL,
    -- user:alice, robot:ci, anonymous, or the name that somebody claimed in vain
    actor TEXT NOT NULL,
    -- an operation's name, login, or what an administrator did
    event TEXT NOT NULL,
    -- allowed, denied or failed
    outcome TEXT NOT NULL,
    -- the rule that decided, or why it failed
    rule TEXT NOT NULL,
    repository TEXT,
    -- tag, digest, or name of what an administrator changed
    target TEXT,
    -- address of the client; NULL: this machine's command line
    address TEXT,
    request_id TEXT
);
