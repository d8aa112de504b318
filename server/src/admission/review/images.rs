//! The images of an object: in which kinds they are, and where in them.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::marker::PhantomData;

use rreg_oci::{Digest, ImageReference, ImageReferenceError};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::request::{Kind, Request};

/// Most entries in any one list of an object.
const MAX_ENTRIES: usize = 1000;

/// A kind of object that has a pod in it.
pub(super) struct Carrier {
    group: &'static str,
    /// With a capital, as objects have it.
    kind: &'static str,
    /// In the plural and small, as rules of webhooks have it.
    resource: &'static str,
    /// The way to the pod's `spec`.
    path: &'static [&'static str],
    /// Whether objects of it keep their pod as it was made, or the pod runs already.
    is_fixed: bool,
}

/// The version of all of them. Webhooks with `matchPolicy: Equivalent` are sent this one whichever a client used.
const VERSION: &str = "v1";

/// Every kind of Kubernetes itself that has a pod. The rules in `deploy/kubernetes` name the same.
const CARRIERS: [Carrier; 9] = [
    fixed("", "Pod", "pods", &["spec"]),
    carrier("", "ReplicationController", "replicationcontrollers", TEMPLATE),
    carrier("", "PodTemplate", "podtemplates", &["template", "spec"]),
    carrier("apps", "ReplicaSet", "replicasets", TEMPLATE),
    carrier("apps", "Deployment", "deployments", TEMPLATE),
    carrier("apps", "StatefulSet", "statefulsets", TEMPLATE),
    carrier("apps", "DaemonSet", "daemonsets", TEMPLATE),
    fixed("batch", "Job", "jobs", TEMPLATE),
    carrier("batch", "CronJob", "cronjobs", &["spec", "jobTemplate", "spec", "template", "spec"]),
];

const TEMPLATE: &[&str] = &["spec", "template", "spec"];

const fn carrier(
    group: &'static str,
    kind: &'static str,
    resource: &'static str,
    path: &'static [&'static str],
) -> Carrier {
    Carrier { group, kind, resource, path, is_fixed: false }
}

const fn fixed(
    group: &'static str,
    kind: &'static str,
    resource: &'static str,
    path: &'static [&'static str],
) -> Carrier {
    Carrier { is_fixed: true, ..carrier(group, kind, resource, path) }
}

impl fmt::Display for Carrier {
    /// As `kubectl` names it: `deployments.apps`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.group.is_empty() { "" } else { "." };
        write!(f, "{}{dot}{}", self.resource, self.group)
    }
}

/// Why it cannot be told which images an object has.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectError {
    #[error(
        "{kind} of {group}/{version} is not known to have a pod in it, so its images cannot be judged; known are {}. \
         Take it out of the webhook's rules",
        known()
    )]
    Kind { kind: String, group: String, version: String },
    #[error("the request has no object, so there is no {kind} to look into")]
    Missing { kind: &'static str },
    #[error("the {kind} cannot be read: {why}")]
    Shape { kind: &'static str, why: String },
}

fn known() -> String {
    CARRIERS.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// One image in an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// JSON pointer (RFC 6901) to the image's name. Each part is a name of Kubernetes' own or a number, so there is
    /// nothing in it to be escaped.
    pub(crate) pointer: String,
    /// The image as written.
    pub(crate) image: String,
}

/// What is asked about in a request.
#[derive(Debug)]
pub(crate) struct Images {
    /// Images that this request brings.
    pub(crate) new: Vec<Place>,
    /// Whether another object made this one from a template and compares it with that.
    pub(crate) is_copy: bool,
    /// Those of `new` that are written as they were before they were pinned, in an object that cannot change or runs
    /// already; with what they were pinned to.
    pub(crate) unpinned: Vec<(Place, String)>,
}

impl Images {
    /// No image.
    pub(crate) fn none() -> Self {
        Self { new: Vec::new(), is_copy: false, unpinned: Vec::new() }
    }

    /// Each image once, in the order of the object.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        self.new.iter().map(|place| place.image.as_str()).filter(|name| seen.insert(*name)).collect()
    }

    /// The images that a `CREATE` or `UPDATE` brings.
    ///
    /// An image that an update leaves where it was is not among them. What runs already would not stop by a refusal:
    /// it would only keep people from scaling it down, and controllers from taking their finalizers away. The pods that
    /// a template makes from then on are judged when they are made. "Where it was" is the same container or volume of
    /// the same list: a second container with an old image is a new one.
    ///
    /// # Errors
    /// [`ObjectError`]: the object is of no known kind or not of that kind's form.
    pub(crate) fn of(request: &Request<'_>) -> Result<Self, ObjectError> {
        let carrier = find_carrier(&request.kind)?;
        let object = request.object.ok_or(ObjectError::Missing { kind: carrier.kind })?;
        let object = read(carrier, object)?;
        let entries = entries(carrier, &object);
        let is_copy = carrier.kind != "Pod" && object.is_controlled();
        let old = request.old_object.filter(|_| request.operation == "UPDATE");
        let old = old.map(|old| read(carrier, old)).transpose()?;
        let old = old.as_ref().map(|old| self::entries(carrier, old)).unwrap_or_default();
        let same: HashSet<_> = old.iter().map(Entry::identity).collect();
        let new = entries.iter().filter(|entry| !same.contains(&entry.identity()));
        let new: Vec<&Entry<'_>> = new.collect();
        let mut unpinned = Vec::new();
        if carrier.is_fixed {
            let was: HashMap<_, _> =
                old.iter().map(|entry| ((entry.list, entry.name), entry.image)).collect();
            let pinned = |entry: &Entry<'_>| {
                let was = was.get(&(entry.list, entry.name)).copied();
                was.filter(|was| is_pinned_from(was, entry.image)).map(str::to_owned)
            };
            unpinned.extend(new.iter().filter_map(|entry| Some((entry.place(), pinned(entry)?))));
        }
        Ok(Self { new: new.into_iter().map(Entry::place).collect(), is_copy, unpinned })
    }
}

/// Whether `pinned` is what pinning makes of `image`.
fn is_pinned_from(pinned: &str, image: &str) -> bool {
    let digest = pinned.strip_prefix(image).and_then(|rest| rest.strip_prefix('@'));
    digest.is_some_and(|digest| digest.parse::<Digest>().is_ok())
}

fn find_carrier(kind: &Kind) -> Result<&'static Carrier, ObjectError> {
    let same = |c: &&Carrier| c.group == kind.group && c.kind == kind.kind && kind.version == VERSION;
    CARRIERS.iter().find(same).ok_or_else(|| {
        let clip = |text: &str| super::answer::clip(text, 100);
        let group = if kind.group.is_empty() { "core" } else { &kind.group };
        ObjectError::Kind { kind: clip(&kind.kind), group: clip(group), version: clip(&kind.version) }
    })
}

fn read(carrier: &Carrier, object: &RawValue) -> Result<Node, ObjectError> {
    serde_json::from_str(object.get()).map_err(|error| ObjectError::Shape {
        kind: carrier.kind,
        why: super::answer::clip(&error.to_string(), 300),
    })
}

/// Any part of an object on the way to a pod, and the pod itself: no two of them give one field two meanings. Fields
/// that are not named here are skipped without being built.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Node {
    metadata: Option<Metadata>,
    spec: Option<Box<Node>>,
    template: Option<Box<Node>>,
    job_template: Option<Box<Node>>,
    containers: Option<List<Container>>,
    init_containers: Option<List<Container>>,
    ephemeral_containers: Option<List<Container>>,
    volumes: Option<List<Volume>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    owner_references: Option<List<Owner>>,
}

#[derive(Deserialize)]
struct Owner {
    controller: Option<bool>,
}

#[derive(Deserialize)]
struct Container {
    name: Option<String>,
    image: Option<String>,
}

#[derive(Deserialize)]
struct Volume {
    name: Option<String>,
    image: Option<ImageVolume>,
}

/// A volume that is an image (since Kubernetes 1.31).
#[derive(Deserialize)]
struct ImageVolume {
    reference: Option<String>,
}

impl Node {
    fn child(&self, name: &str) -> Option<&Self> {
        match name {
            "spec" => self.spec.as_deref(),
            "template" => self.template.as_deref(),
            "jobTemplate" => self.job_template.as_deref(),
            _ => None,
        }
    }

    fn is_controlled(&self) -> bool {
        let owners = self.metadata.as_ref().and_then(|metadata| metadata.owner_references.as_ref());
        owners.is_some_and(|owners| owners.0.iter().any(|owner| owner.controller == Some(true)))
    }
}

/// An image, and whose it is.
struct Entry<'a> {
    /// The way to the pod.
    path: &'static [&'static str],
    list: &'static str,
    index: usize,
    /// What follows the index.
    field: &'static str,
    name: &'a str,
    image: &'a str,
}

impl Entry<'_> {
    fn identity(&self) -> (&str, &str, &str) {
        (self.list, self.name, self.image)
    }

    fn place(&self) -> Place {
        let pointer = format!("/{}/{}/{}/{}", self.path.join("/"), self.list, self.index, self.field);
        Place { pointer, image: self.image.to_owned() }
    }
}

/// All images of an object. A template may leave out what is filled in later: without an image there is nothing to run,
/// and the pods made of it are judged by themselves.
fn entries<'a>(carrier: &Carrier, object: &'a Node) -> Vec<Entry<'a>> {
    let pod = carrier.path.iter().try_fold(object, |node, name| node.child(name));
    let Some(pod) = pod else { return Vec::new() };
    let containers = [
        ("containers", &pod.containers),
        ("initContainers", &pod.init_containers),
        ("ephemeralContainers", &pod.ephemeral_containers),
    ];
    let containers = containers.into_iter().flat_map(|(list, containers)| {
        let containers = containers.iter().flat_map(|containers| containers.0.iter().enumerate());
        containers.map(move |(index, c)| (list, index, "image", &c.name, c.image.as_deref()))
    });
    let volumes = pod.volumes.iter().flat_map(|volumes| volumes.0.iter().enumerate()).map(|(index, v)| {
        let image = v.image.as_ref().and_then(|image| image.reference.as_deref());
        ("volumes", index, "image/reference", &v.name, image)
    });
    let all = containers.chain(volumes).filter_map(|(list, index, field, name, image)| {
        let name = name.as_deref().unwrap_or_default();
        let image = image.filter(|image| !image.is_empty())?;
        Some(Entry { path: carrier.path, list, index, field, name, image })
    });
    all.collect()
}

/// At most [`MAX_ENTRIES`] of something: an object of a few bytes an entry must not take many times its size.
struct List<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX_ENTRIES}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<List<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(entry) = from.next_element()? {
                    if list.len() == MAX_ENTRIES {
                        return Err(A::Error::custom(format!("a list has more than {MAX_ENTRIES} entries")));
                    }
                    list.push(entry);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_seq(Bounded(PhantomData))
    }
}

/// Reads an image's name as container runtimes do: without a host it is Docker Hub's, and there without an organisation
/// it is one of `library`.
///
/// # Errors
/// The name is none that can be asked for.
pub(crate) fn reference(image: &str) -> Result<ImageReference, ImageReferenceError> {
    const HUB: &str = "docker.io";
    let full: Cow<'_, str> = match image.parse::<ImageReference>() {
        Err(ImageReferenceError::NoHost(_)) => format!("{HUB}/{image}").into(),
        _ => image.into(),
    };
    let hub = full.strip_prefix("docker.io/").or_else(|| full.strip_prefix("index.docker.io/"));
    match hub {
        Some(name) if !name.contains('/') => format!("{HUB}/library/{name}").parse(),
        Some(name) => format!("{HUB}/{name}").parse(),
        None => full.parse(),
    }
}
