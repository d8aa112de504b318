-- What is cached of upstream registries. Manifests, tags and blobs themselves are rows like any other
-- (0001_registry.sql); these tables say what is special about a copy. Placeholders as there.

-- Tags that came from an upstream, and when it was last asked whether they still mean the same.
CREATE TABLE cached_references (
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    tag TEXT {{ordered}} NOT NULL,
    checked_at BIGINT NOT NULL,
    PRIMARY KEY (repository_id, tag)
);

-- What a cached manifest refers to and is not here yet. When it comes, the row becomes one of manifest_blobs or
-- manifest_children, which keep the content from being reclaimed.
CREATE TABLE awaited_content (
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    digest TEXT NOT NULL,
    manifest_id BIGINT NOT NULL REFERENCES manifests (id) ON DELETE CASCADE,
    -- As the manifest says it, in bytes.
    size BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest, manifest_id)
);
CREATE INDEX awaited_content_by_manifest ON awaited_content (manifest_id);

-- Which replica fetches a blob now, so that the others wait for it. A replica that has died lets go by time.
CREATE TABLE fill_leases (
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    holder TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (repository, digest)
);

-- Images of upstreams, and when they were last asked for: what was used longest ago is evicted first.
CREATE TABLE cached_images (
    manifest_id BIGINT PRIMARY KEY REFERENCES manifests (id) ON DELETE CASCADE,
    upstream TEXT NOT NULL,
    used_at BIGINT NOT NULL,
    -- 1: its blobs were let go, and are not counted until it is asked for again.
    evicted BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX cached_images_by_use ON cached_images (evicted, used_at);
