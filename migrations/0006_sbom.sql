-- Images whose packages are to be listed and attached. The row is written in the transaction that stores the image's
-- manifest and goes when the list is attached, or with the manifest. Placeholders as in 0001_registry.sql.
CREATE TABLE sbom_jobs (
    manifest_id BIGINT NOT NULL PRIMARY KEY REFERENCES manifests (id) ON DELETE CASCADE,
    -- A worker may take it from then on: the end of a lease, or of a pause after a failure.
    due_at BIGINT NOT NULL,
    -- How often it was taken. At the most allowed it stays, for people to see.
    attempts BIGINT NOT NULL DEFAULT 0,
    -- The lease: whoever finishes a job must be who took it last.
    holder TEXT,
    -- Why it failed the last time, the finding's name first.
    error TEXT
);
CREATE INDEX sbom_jobs_by_due ON sbom_jobs (due_at);
