-- What has the same form (`manifests.config`; its own digest where there is none) is called by the same names. Their changes
-- are counted once for all of it: a decision is good while the count is what it was made at. Placeholders as in
-- 0001_registry.sql.
CREATE TABLE form_changes (
    repository_id BIGINT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    form TEXT {{ordered}} NOT NULL,
    -- Begins at the time of the first change, in milliseconds: a count that went with the last manifest of its form does
    -- not come again.
    changes BIGINT NOT NULL,
    PRIMARY KEY (repository_id, form)
);

-- The count stands before what is wide, as all that a pull reads.
CREATE TABLE decisions_by_form (
    manifest_id BIGINT NOT NULL PRIMARY KEY REFERENCES manifests (id) ON DELETE CASCADE,
    revision TEXT {{ordered}} NOT NULL,
    changes BIGINT NOT NULL,
    -- `form_changes.changes` when the facts were gathered; 0 where there is none.
    form_changes BIGINT NOT NULL DEFAULT 0,
    due_at BIGINT NOT NULL,
    leased_until BIGINT NOT NULL,
    by_tag TEXT,
    by_digest TEXT,
    decided_at BIGINT NOT NULL,
    error TEXT,
    body TEXT,
    good TEXT,
    trust TEXT,
    facts TEXT
);
INSERT INTO decisions_by_form
    (manifest_id, revision, changes, due_at, leased_until, by_tag, by_digest, decided_at, error, body, good, trust, facts)
SELECT manifest_id, revision, changes, due_at, leased_until, by_tag, by_digest, decided_at, error, body, good, trust, facts
FROM decisions;
DROP TABLE decisions;
ALTER TABLE decisions_by_form RENAME TO decisions;
CREATE INDEX decisions_by_revision ON decisions (revision, leased_until);
CREATE INDEX decisions_by_due ON decisions (due_at);
