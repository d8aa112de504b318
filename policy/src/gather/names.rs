//! Names in manifests and configs that readers disagree about. Container runtimes read both with Go's `encoding/json`.

use rreg_oci::Names;

/// An image's config (image-spec, "Image Configuration").
pub(crate) static CONFIG: Names = Names {
    known: &["created", "os", "architecture", "variant", "config", "rootfs", "history"],
    below: &[("config", &RUN), ("rootfs", &ROOTFS)],
};

static RUN: Names = Names {
    known: &[
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "Healthcheck",
        "ArgsEscaped",
        "Shell",
        "OnBuild",
    ],
    below: &[],
};

static ROOTFS: Names = Names { known: &["type", "diff_ids"], below: &[] };

/// An image manifest or an index (image-spec, "Image Manifest", "Image Index").
pub(super) static MANIFEST: Names = Names {
    known: &[
        "schemaVersion",
        "mediaType",
        "artifactType",
        "config",
        "layers",
        "manifests",
        "subject",
        "annotations",
    ],
    below: &[
        ("config", &DESCRIPTOR),
        ("layers", &DESCRIPTOR),
        ("manifests", &DESCRIPTOR),
        ("subject", &DESCRIPTOR),
    ],
};

static DESCRIPTOR: Names = Names {
    known: &["mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"],
    below: &[("platform", &PLATFORM)],
};

static PLATFORM: Names =
    Names { known: &["os", "architecture", "variant", "os.version", "os.features"], below: &[] };

/// Reads `json` through without keeping it.
///
/// # Errors
/// Says which name is ambiguous, or that it is no JSON.
pub(crate) fn check(json: &[u8], names: &'static Names) -> Result<(), String> {
    names.check(json, "runtimes")
}
