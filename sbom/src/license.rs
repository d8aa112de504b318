//! Names of licences, as packages write them, in the words of SPDX's list where it is clear which is meant.

/// What of a licence with a name and an address says most.
pub(crate) fn best(name: Option<String>, address: Option<String>) -> Option<String> {
    name.or(address)
}

/// The licences of a bundle (OSGi Core, 3.2.1.10): names or addresses, each with further attributes.
pub(crate) fn bundle(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}
