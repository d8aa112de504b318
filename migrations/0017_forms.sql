-- Of an image with the empty config, its first layer stands in `manifests.config`: manifests with the same one are the
-- same image in another form. Of rows where neither is somebody's in particular it stays NULL.
UPDATE manifests SET config = {{layer}} WHERE config IS NULL;
UPDATE manifests SET config = NULL
WHERE config = 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a';
