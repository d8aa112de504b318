-- Whether a manifest is a copy of what an upstream has: it can be fetched again, and no record is kept of it.

ALTER TABLE manifests ADD COLUMN is_copy BIGINT NOT NULL DEFAULT 0;

-- Until now this showed only in what copies have beside them.
UPDATE manifests SET is_copy = 1 WHERE repository_id IN (SELECT repository_id FROM cached_references)
    OR id IN (SELECT manifest_id FROM cached_images)
    OR id IN (SELECT manifest_id FROM awaited_content)
    OR id IN (SELECT mc.manifest_id FROM manifest_children mc JOIN cached_images c ON c.manifest_id = mc.child_id);
