-- What had no form and may have one now is called by other names too, and is looked at again.
UPDATE decisions SET revision = '', changes = changes + 1, leased_until = 0
WHERE manifest_id IN (SELECT id FROM manifests WHERE config IS NULL);

-- Of an image with the empty config, its first layer stands in `manifests.config`: manifests with the same one are the
-- same image in another form. Of rows where neither is somebody's in particular it stays NULL.
UPDATE manifests SET config = {{layer}} WHERE config IS NULL;
UPDATE manifests SET config = NULL
WHERE config = 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a';

-- Less is called wrong than before, and more is known: what did not come out as valid is verified again.
UPDATE decisions SET revision = '', changes = changes + 1, leased_until = 0, trust = NULL
WHERE facts LIKE '%"verdict":"invalid"%' OR facts LIKE '%"verdict":"unverifiable"%';
DELETE FROM verifications WHERE body NOT LIKE '{"verdict":"valid"%';
