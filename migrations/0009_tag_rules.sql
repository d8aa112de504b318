-- Rules for immutable tags that were made through the API or the command line; those of the configuration are not
-- here. Lists are JSON arrays of patterns.
CREATE TABLE tag_rules (
    name TEXT {{ordered}} PRIMARY KEY,
    repositories TEXT NOT NULL,
    tags TEXT NOT NULL,
    except_tags TEXT NOT NULL
);

-- One row. Whoever changes a tag reads the version in the same transaction (and, with PostgreSQL, keeps it from
-- changing until the commit), so that no replica acts on rules that have been replaced. A random number each time: a
-- change that was rolled back leaves no version behind that could come again.
CREATE TABLE tag_rules_version (
    id BIGINT PRIMARY KEY,
    version BIGINT NOT NULL
);
INSERT INTO tag_rules_version (id, version) VALUES (1, 0);
