-- What was taken for evidence is looked at again: less counts as evidence now.
UPDATE decisions SET revision = '', changes = changes + 1, leased_until = 0, trust = NULL WHERE trust = 'evidence';

-- Digest of an image's config, where that is not the empty one: manifests with the same one are the same image in
-- another form. Rows of an older version that runs beside this one have none.
ALTER TABLE manifests ADD COLUMN config TEXT;
UPDATE manifests SET config = {{config}};
UPDATE manifests SET config = NULL
WHERE config = 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a';
CREATE INDEX manifests_by_config ON manifests (repository_id, config) WHERE config IS NOT NULL;

-- Indexes for statements that walked a table that grows with the store (tests/plans.rs asks about every statement).

-- Where a digest is, in all repositories: `gc why`.
CREATE INDEX manifests_by_digest ON manifests (digest);

-- The history of a whole repository, the latest first.
CREATE INDEX tag_history_by_repository ON tag_history (repository_id, id);

-- The trail since a time.
CREATE INDEX audit_events_by_time ON audit_events (at, id);

-- Reviews in the order in which they come due, in pages.
DROP INDEX reviews_by_age;
CREATE INDEX reviews_by_age ON reviews (kind, queued_at, id);

-- SBOMs that have been tried and are not there.
CREATE INDEX sbom_jobs_tried ON sbom_jobs (manifest_id) WHERE attempts > 0;

-- Records that nobody is writing.
CREATE INDEX unrecorded_by_lease ON unrecorded (leased_until, id);

-- Users, or robots, by name.
CREATE INDEX principals_by_kind ON principals (kind, name);
