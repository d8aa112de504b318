//! Whose share a review takes.

use super::super::person::source;
use super::*;
use crate::shares::Source;

fn of(user: &str, namespace: &str, network: &str) -> Source {
    let mut review = review("CREATE", &pod(&["nginx"]), &Value::Null);
    review["request"]["userInfo"]["username"] = user.into();
    review["request"]["namespace"] = namespace.into();
    let body = review.to_string();
    let network = Source::of_address(Some(network.parse().unwrap()));
    source(&Request::parse(body.as_bytes()).unwrap(), &network)
}

#[test]
fn a_share_is_that_of_one_user() {
    let at = |user, namespace| of(user, namespace, "192.0.2.1");
    assert_eq!(at("alice", "a"), at("alice", "b"));
    assert_ne!(at("alice", "a"), at("mallory", "a"));
    assert_ne!(at("alice", "a"), of("alice", "a", "192.0.2.2"));
    // Somebody's own accounts are one; a user who is called like them is none.
    assert_eq!(at("system:serviceaccount:a:x", "a"), at("system:serviceaccount:a:y", "b"));
    assert_ne!(at("system:serviceaccount:a:x", "a"), at("system:serviceaccount:b:x", "a"));
    assert_ne!(at("accounts of a", "a"), at("system:serviceaccount:a:x", "a"));
    // What makes the pods of everybody has a share in each namespace.
    let controller = "system:serviceaccount:kube-system:replicaset-controller";
    assert_ne!(at(controller, "a"), at(controller, "b"));
    assert_ne!(at("system:kube-controller-manager", "a"), at("system:kube-controller-manager", "b"));
    assert_ne!(at(controller, "a"), at("system:serviceaccount:a:x", "a"));
}
