-- The registry core. One text for both engines: {{id}}, {{bytes}} and {{ordered}} are filled in by
-- storage/src/db/migrate.rs (SQLite: INTEGER PRIMARY KEY, BLOB, nothing; PostgreSQL: BIGINT … IDENTITY, BYTEA,
-- COLLATE "C", so that both sort names by their bytes).
-- Times are milliseconds since the Unix epoch, sizes are bytes.

CREATE TABLE repositories (
    id {{id}},
    name TEXT {{ordered}} NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

-- Content exists once, whoever pushed it; who may read it is in repository_blobs.
CREATE TABLE blobs (
    id {{id}},
    digest TEXT NOT NULL UNIQUE,
    size BIGINT NOT NULL,
    -- The bytes of a small blob. NULL: they are in blob_segments, in order of position.
    content {{bytes}},
    -- 1 once the stored bytes turned out to be damaged; a new push of the same digest heals it.
    quarantined BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL
);

CREATE TABLE blob_segments (
    blob_id BIGINT NOT NULL REFERENCES blobs (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    object_key TEXT NOT NULL,
    size BIGINT NOT NULL,
    PRIMARY KEY (blob_id, position)
);

CREATE TABLE repository_blobs (
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    blob_id BIGINT NOT NULL REFERENCES blobs (id),
    PRIMARY KEY (repository_id, blob_id)
);
CREATE INDEX repository_blobs_by_blob ON repository_blobs (blob_id);

CREATE TABLE manifests (
    id {{id}},
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    -- As the referrers API reports it.
    artifact_type TEXT,
    -- Digest of the subject; it need not be here (yet).
    subject TEXT,
    -- JSON object, kept where there is a subject, for the referrers API.
    annotations TEXT,
    body {{bytes}} NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (repository_id, digest)
);
CREATE INDEX manifests_by_subject ON manifests (repository_id, subject, id) WHERE subject IS NOT NULL;

-- What a manifest needs. The foreign keys are the invariant "no dangling reference": neither engine lets a
-- blob or child go while a manifest of the same repository refers to it.
CREATE TABLE manifest_blobs (
    manifest_id BIGINT NOT NULL REFERENCES manifests (id) ON DELETE CASCADE,
    repository_id BIGINT NOT NULL,
    blob_id BIGINT NOT NULL,
    PRIMARY KEY (manifest_id, blob_id),
    FOREIGN KEY (repository_id, blob_id) REFERENCES repository_blobs (repository_id, blob_id)
);
CREATE INDEX manifest_blobs_by_blob ON manifest_blobs (repository_id, blob_id);

CREATE TABLE manifest_children (
    manifest_id BIGINT NOT NULL REFERENCES manifests (id) ON DELETE CASCADE,
    child_id BIGINT NOT NULL REFERENCES manifests (id),
    PRIMARY KEY (manifest_id, child_id)
);
CREATE INDEX manifest_children_by_child ON manifest_children (child_id);

CREATE TABLE tags (
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    name TEXT {{ordered}} NOT NULL,
    manifest_id BIGINT NOT NULL REFERENCES manifests (id),
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (repository_id, name)
);
CREATE INDEX tags_by_manifest ON tags (manifest_id);

-- Upload sessions: what has arrived is upload_segments in order, then tail.
CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    repository TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    size BIGINT NOT NULL,
    -- Saved state of the hash over everything that has arrived.
    hash_state {{bytes}} NOT NULL,
    -- The last few bytes, too few for an object of their own.
    tail {{bytes}} NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX uploads_by_age ON uploads (updated_at);

CREATE TABLE upload_segments (
    upload_id TEXT NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    object_key TEXT NOT NULL,
    size BIGINT NOT NULL,
    PRIMARY KEY (upload_id, position)
);

-- Objects whose row is gone: their bytes go once due_at has passed.
CREATE TABLE reclaim (
    object_key TEXT PRIMARY KEY,
    due_at BIGINT NOT NULL
);
CREATE INDEX reclaim_by_due ON reclaim (due_at);
