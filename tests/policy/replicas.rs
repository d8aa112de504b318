//! Two replicas: what one is told, the other acts on.

use crate::harness::Backend;
use crate::harness::Registry;
use crate::harness::http::manifest;
use crate::harness::image::Image;

use super::{Desk, refusal, signed, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_counts_on_the_other_at_once() {
    let Some(one) = Registry::start(Backend::PostgresS3).await else { return };
    if !one.is_shareable() {
        return;
    }
    let two = one.replica();
    let desk = Desk::new();
    let repository = one.repository();
    let image = Image::layered(&repository, 1);
    one.api().push(&repository, &image, Some("v1")).await;
    two.api().get(manifest(&repository, "v1")).expect(200).await;
    one.api().put("/v2/_rreg/trust/team.pub", desk.public()).expect(201).await;
    one.api().put("/v2/_rreg/policies/signed", signed("enforce", "pull")).expect(201).await;
    refusal(&one.api().get(manifest(&repository, "v1")).send().await);
    soon(&two, &repository, "v1", 403).await;

    desk.sign(&two, &repository, "v1", &desk.team);
    // No waiting: the row of the decision was emptied with the signature's push.
    one.api().get(manifest(&repository, "v1")).expect(200).await;
    two.api().get(manifest(&repository, "v1")).expect(200).await;
    let digest = image.root().digest.to_string();
    let evidence = two.api().get(format!("/v2/{repository}/referrers/{digest}")).expect(200).await.json();
    let bundle = evidence["manifests"][0]["digest"].as_str().unwrap();
    one.api().delete(manifest(&repository, bundle)).expect(202).await;
    refusal(&two.api().get(manifest(&repository, "v1")).send().await);
}
