-- What became of every tag, written in the transaction that changed it. History begins with this migration: where
-- a tag pointed before is not known to anybody.
CREATE TABLE tag_history (
    id {{id}},
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    tag TEXT {{ordered}} NOT NULL,
    -- Who did it, in the caller's words. NULL: nobody in particular.
    actor TEXT,
    changed_at BIGINT NOT NULL,
    -- NULL: the tag was not there before.
    from_digest TEXT,
    -- NULL: the tag was deleted.
    to_digest TEXT
);
CREATE INDEX tag_history_by_tag ON tag_history (repository_id, tag, id);
