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
