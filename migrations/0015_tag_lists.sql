-- The last whole list of tags that an upstream gave of each repository, so that it is known after a restart while the
-- upstream is away. Bounded in number and bytes: those asked for longest ago go first.
CREATE TABLE upstream_tag_lists (
    -- Its name here.
    repository TEXT NOT NULL PRIMARY KEY,
    -- Host and repository that were asked: where the settings name others, this is another list.
    source TEXT NOT NULL,
    -- A JSON array, in the order of the tags' bytes.
    tags TEXT NOT NULL,
    -- Length of that text.
    bytes BIGINT NOT NULL,
    listed_at BIGINT NOT NULL
);
CREATE INDEX upstream_tag_lists_by_time ON upstream_tag_lists (listed_at);
