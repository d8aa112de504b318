-- Manifests whose record in the object store (storage/src/records.rs) is not what the rows say: written in the
-- transaction that changed the manifest, its tags or the objects of its blobs; a worker takes it away once the
-- record says the same again, or is gone with the manifest.
CREATE TABLE unrecorded (
    id {{id}},
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    digest TEXT NOT NULL,
    -- Random, another one with each change: a worker that has written what is no longer so finds out.
    version BIGINT NOT NULL,
    -- A worker has it until then.
    leased_until BIGINT NOT NULL DEFAULT 0,
    UNIQUE (repository_id, digest)
);

-- What was pushed before there were records.
INSERT INTO unrecorded (repository_id, digest, version) SELECT repository_id, digest, 0 FROM manifests;
