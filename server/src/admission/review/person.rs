//! Whose share a review takes: that of whoever asked the cluster, so that nobody there takes what others need.

use super::asker::Asker;
use super::request::Request;
use crate::shares::Source;

/// Longest name that tells two users apart.
const MAX_NAME: usize = 300;
/// How Kubernetes begins the names of what is a part of it.
const SYSTEM: &str = "system:";
const ACCOUNT: &str = "system:serviceaccount:";
/// Where Kubernetes' own controllers have their accounts.
const OF_CONTROLLERS: &str = "kube-system";

/// Whoever asked the cluster.
#[derive(Clone)]
pub(super) struct Person {
    pub(super) source: Source,
    /// Whose share theirs is a part of: those whom one account or one network names may be made up.
    pub(super) within: Source,
    /// Who says who it is, where it is not sure to be an API server.
    pub(super) said_by: Option<String>,
    /// Whether that is somebody who is known.
    pub(super) is_proved: bool,
}

impl Person {
    pub(super) fn of(request: &Request<'_>, asker: &Asker, network: Source) -> Self {
        let (within, said_by) = match asker {
            Asker::ApiServer => (None, None),
            Asker::Account(caller) if caller.is_anonymous() => (Some(network), None),
            Asker::Account(caller) => {
                let name = caller.identity.to_string();
                (Some(Source::Account(name.clone())), Some(name))
            }
            Asker::Verdicts | Asker::Anybody => (Some(network), Some("whoever knows the path".to_owned())),
        };
        let source = source(request, within.as_ref().unwrap_or(&Source::Nobody));
        let within = within.unwrap_or_else(|| source.clone());
        let is_proved = !matches!(asker, Asker::Verdicts | Asker::Anybody);
        Self { source, within, said_by, is_proved }
    }
}

/// Whose share it is. Who may make service accounts in a namespace may make many: they have one. What Kubernetes' own
/// controllers ask for, they ask for somebody in the object's namespace.
pub(super) fn source(request: &Request<'_>, within: &Source) -> Source {
    let Request { namespace, user_info, .. } = request;
    let name = user_info.username.as_str();
    let account = name.strip_prefix(ACCOUNT).and_then(|account| account.split_once(':'));
    let whose = match account {
        Some((OF_CONTROLLERS, _)) => format!("controllers in {namespace}"),
        Some((theirs, _)) => format!("accounts of {theirs}"),
        None if name.starts_with(SYSTEM) => format!("controllers in {namespace}"),
        None => format!("user {name}"),
    };
    // Two may name the same person, and one of them may lie.
    Source::Cluster(format!("{within:?} {}", whose.chars().take(MAX_NAME).collect::<String>()))
}
