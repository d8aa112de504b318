-- What may have become unreferenced and has to be looked at: written in the transaction that took a reference away
-- or added content that nothing refers to yet. A review says "look", never "delete": the worker judges again.
CREATE TABLE reviews (
    id {{id}},
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    -- 'blob' or 'manifest'.
    kind TEXT NOT NULL,
    digest TEXT NOT NULL,
    -- The time of the last event; how long to wait after it is a setting. Pushing again moves it.
    queued_at BIGINT NOT NULL,
    -- A worker has it until then.
    leased_until BIGINT NOT NULL DEFAULT 0,
    UNIQUE (repository_id, kind, digest)
);
CREATE INDEX reviews_by_age ON reviews (kind, queued_at);

-- fsck asks who knows an object.
CREATE INDEX blob_segments_by_key ON blob_segments (object_key);
CREATE INDEX upload_segments_by_key ON upload_segments (object_key);

-- What was unreferenced before there were reviews.
INSERT INTO reviews (repository_id, kind, digest, queued_at)
SELECT rb.repository_id, 'blob', b.digest, b.created_at
FROM repository_blobs rb JOIN blobs b ON b.id = rb.blob_id
WHERE NOT EXISTS (
    SELECT 1 FROM manifest_blobs mb WHERE mb.repository_id = rb.repository_id AND mb.blob_id = rb.blob_id
);
INSERT INTO reviews (repository_id, kind, digest, queued_at)
SELECT m.repository_id, 'manifest', m.digest, m.created_at
FROM manifests m
WHERE NOT EXISTS (SELECT 1 FROM tags t WHERE t.manifest_id = m.id);
