-- Which registry this is. The object store has the same in a marker, so that the store of another registry, or none at
-- all, is noticed.
CREATE TABLE installation (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL
);

-- What is quarantined is little, and is looked for.
CREATE INDEX blobs_quarantined ON blobs (id) WHERE quarantined = 1;
