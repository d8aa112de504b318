//! A registry that answers only half of what it is asked.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use tokio::net::TcpListener;

use super::{Desk, has, policy};
use crate::harness::image::Image;

/// A registry that has `image` by its digest, and gives `status` to whoever asks for a tag. Ends with the runtime.
async fn registry(image: &Image, status: u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (root, blobs) = (image.root().clone(), image.blobs.clone());
    let handler = move |request: Request| {
        let (root, blobs) = (root.clone(), blobs.clone());
        async move {
            let path = request.uri().path();
            let answer = Response::builder();
            let digest = root.digest.to_string();
            if path.ends_with(&format!("/manifests/{digest}")) {
                let answer = answer.header("content-type", root.media_type.as_str());
                return answer
                    .header("docker-content-digest", digest)
                    .body(Body::from(root.bytes.clone()))
                    .unwrap();
            }
            if let Some(blob) = blobs.iter().find(|blob| path.ends_with(&format!("/blobs/{}", blob.digest))) {
                return answer.body(Body::from(blob.bytes.clone())).unwrap();
            }
            let status = if path.ends_with("/manifests/v1") { status } else { 404 };
            answer.status(status).body(Body::empty()).unwrap()
        }
    };
    let router = Router::new().fallback(handler);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// A tag that is gone is no name of the image. One that cannot be looked up may be: then policies on tags may be about
/// the image, and nothing is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_cannot_be_looked_up_is_not_gone() {
    let desk = Desk::new();
    let tagged = policy("tagged", "image: {digestOnly: false}") + "match: {tags: [v1]}\n";
    desk.write("policies/tagged.yaml", &tagged);
    let image = Image::layered("halves", 1);
    let name = async |status| {
        let host = registry(&image, status).await;
        format!("{host}/team/app:v1@{}", image.root().digest)
    };
    has(&desk.gate(&name(404).await, &[]).exit(0), &["allowed", "the tag v1 is gone"]);
    for status in [401, 403, 500] {
        let report = desk.gate(&name(status).await, &["--timeout", "60"]).exit(2);
        has(&report, &["unchecked", "what the tag v1 names could not be found out", &status.to_string()]);
    }
}
