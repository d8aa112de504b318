-- Policies and trust material that were set through the API; those of a directory are not here. Placeholders as in
-- 0001_registry.sql.
CREATE TABLE policies (
    name TEXT {{ordered}} PRIMARY KEY,
    document TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    changed_by TEXT NOT NULL
);

CREATE TABLE trust_material (
    name TEXT {{ordered}} PRIMARY KEY,
    -- A PEM, a trusted_root.json, or a Notation trust store or policy as JSON.
    content {{bytes}} NOT NULL,
    changed_at BIGINT NOT NULL,
    changed_by TEXT NOT NULL
);

-- Every text that a policy had: a decision names the digest of the one that it was made by.
CREATE TABLE policy_history (
    id {{id}},
    name TEXT {{ordered}} NOT NULL,
    -- NULL: it was taken away.
    document TEXT,
    changed_at BIGINT NOT NULL,
    changed_by TEXT NOT NULL
);
CREATE INDEX policy_history_by_name ON policy_history (name, id);

-- One row, counted up by every change of the two tables above, so that replicas see one.
CREATE TABLE policies_version (
    id BIGINT PRIMARY KEY,
    version BIGINT NOT NULL
);
INSERT INTO policies_version (id, version) VALUES (1, 1);

-- What verifying a piece of evidence under a trust root found. Both are named by digests of all that they say, so a row
-- is true until holds_until, in every repository.
CREATE TABLE verifications (
    evidence TEXT NOT NULL,
    trust TEXT NOT NULL,
    body TEXT NOT NULL,
    -- NULL: time does not change it.
    holds_until BIGINT,
    made_at BIGINT NOT NULL,
    PRIMARY KEY (evidence, trust)
);
CREATE INDEX verifications_by_trust ON verifications (trust);

-- What was decided about a manifest of a repository, and the facts that it was decided on. The narrow columns stand
-- first: a pull reads only them.
CREATE TABLE decisions (
    manifest_id BIGINT NOT NULL PRIMARY KEY REFERENCES manifests (id) ON DELETE CASCADE,
    -- Digest of the policies that it was made by. Empty: facts have changed since, and have to be gathered again.
    revision TEXT {{ordered}} NOT NULL,
    -- Counts the changes of facts: a decision on older facts is not stored.
    changes BIGINT NOT NULL,
    -- From then on it is to be made again: time has changed it, or a worker's lease has ended.
    due_at BIGINT NOT NULL,
    leased_until BIGINT NOT NULL,
    -- For a pull by tag and for one by digest: allow, warn or deny.
    by_tag TEXT,
    by_digest TEXT,
    -- When it was made.
    decided_at BIGINT NOT NULL,
    -- Why it could not be decided the last time.
    error TEXT,
    -- The decisions with their reasons, JSON.
    body TEXT,
    -- When each policy was last passed on facts that were whole, for `onError: lastGood`: JSON.
    good TEXT,
    -- Digest of the trust roots that the facts were verified under.
    trust TEXT,
    -- JSON.
    facts TEXT
);
CREATE INDEX decisions_by_revision ON decisions (revision, leased_until);
CREATE INDEX decisions_by_due ON decisions (due_at);
