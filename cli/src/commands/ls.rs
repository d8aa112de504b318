//! `rreg ls HOST`, `rreg ls HOST/REPOSITORY`, `rreg ls --referrers IMAGE`

use std::str::FromStr;

use clap::Args;
use rreg_oci::{Descriptor, Digest, RepositoryName};
use rreg_runtime::RegistryClient;
use rreg_runtime::client::Keychain;
use serde::Serialize;

use crate::connect::Connect;
use crate::exit::{Exit, Failure};
use crate::named::{Host, ImageName};
use crate::output::Output;
use crate::text::{BAD, NAME, paint, plain, size};

/// Deepest level of referrers shown.
const MAX_LEVEL: usize = 8;
/// Most referrers shown, all levels together: each is asked for its own.
const MAX_SHOWN: usize = 2_000;

#[derive(Args, Debug)]
pub(crate) struct Ls {
    /// HOST lists repositories, HOST/REPOSITORY lists tags
    #[arg(value_name = "HOST[/REPOSITORY]")]
    place: Place,
    /// Show what refers to the image, as a tree
    #[arg(long)]
    referrers: bool,
    #[command(flatten)]
    connect: Connect,
}

/// A whole registry or something in it.
#[derive(Clone, Debug)]
enum Place {
    Registry(Host),
    Image(ImageName),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match Host::split(s.trim_end_matches('/'))? {
            (host, None) => Ok(Self::Registry(host)),
            (_, Some(_)) => s.trim_end_matches('/').parse().map(Self::Image),
        }
    }
}

#[derive(Serialize)]
struct Repositories<'a> {
    host: &'a str,
    repositories: &'a [String],
}

#[derive(Serialize)]
struct Tags<'a> {
    host: &'a str,
    repository: &'a RepositoryName,
    tags: &'a [String],
}

/// A referrer with its own referrers.
#[derive(Serialize)]
struct Tree {
    #[serde(flatten)]
    descriptor: Descriptor,
    referrers: Vec<Tree>,
}

#[derive(Serialize)]
struct Referrers {
    image: String,
    digest: Digest,
    referrers: Vec<Tree>,
    /// What is not shown, and why.
    incomplete: Vec<String>,
}

impl Ls {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        match &self.place {
            Place::Registry(host) if self.referrers => {
                Err(Failure::new(Exit::Usage, format!("--referrers needs an image, {host} is a registry")))
            }
            Place::Registry(host) => {
                let client = self.connect.client(host)?;
                let found = client.catalog().await?;
                self.tell_of_login(output, &client, host, found.is_empty()).await?;
                output.result(&Repositories { host: host.name(), repositories: &found }, || lines(&found))
            }
            Place::Image(image) if self.referrers => self.referrers(output, image).await,
            Place::Image(image) => self.tags(output, image).await,
        }
    }

    /// A registry may show everybody a list, and nobody what is in it.
    async fn tell_of_login(
        &self,
        output: &Output,
        client: &RegistryClient,
        host: &Host,
        is_empty: bool,
    ) -> Result<(), Failure> {
        // A helper may ask for a key ring to be opened: only where it matters.
        let is_anonymous = client.asks_for_login().await
            && Keychain::from_environment().find(host.name(), None).await?.is_none();
        match (is_empty, is_anonymous) {
            (true, true) => {
                let why = format!("{host} shows no repository without a login");
                let hint = format!("log in first: `rreg login {}`", host.url());
                Err(Failure::new(Exit::Denied, why).hint(hint))
            }
            (true, false) => {
                output.note(&format!("{host} shows no repositories"));
                Ok(())
            }
            (false, true) => {
                output.note(&format!("{host} may show more after `rreg login {}`", host.url()));
                Ok(())
            }
            (false, false) => Ok(()),
        }
    }

    async fn tags(&self, output: &Output, image: &ImageName) -> Result<Exit, Failure> {
        if image.tag.is_some() || image.digest.is_some() {
            return Err(Failure::new(Exit::Usage, format!("{image} is one image, not a repository"))
                .hint("use `rreg inspect` for an image, or `rreg ls --referrers`"));
        }
        let found = self.connect.client(&image.host)?.tags(&image.repository).await?;
        let value = Tags { host: image.host.name(), repository: &image.repository, tags: &found };
        output.result(&value, || lines(&found))
    }

    async fn referrers(&self, output: &Output, image: &ImageName) -> Result<Exit, Failure> {
        let client = self.connect.client(&image.host)?;
        let digest = client.resolve(&image.repository, &image.reference()).await?.digest;
        let mut walk = Walk {
            client: &client,
            repository: &image.repository,
            left: MAX_SHOWN,
            incomplete: Vec::new(),
            is_full: false,
        };
        let referrers = walk.tree(digest, 0).await?;
        let value = Referrers { image: image.to_string(), digest, referrers, incomplete: walk.incomplete };
        output.result(&value, || {
            let mut text = format!("{} {}\n", paint(NAME, value.digest), value.image);
            draw(&value.referrers, "", &mut text);
            for line in &value.incomplete {
                text.push_str(&format!("\n{} {}\n", paint(BAD, "not shown:"), plain(line)));
            }
            text
        })
    }
}

/// Looks at referrers and at what refers to them.
struct Walk<'a> {
    client: &'a RegistryClient,
    repository: &'a RepositoryName,
    /// Referrers that may still be shown.
    left: usize,
    incomplete: Vec<String>,
    /// Whether it was said that there are too many.
    is_full: bool,
}

impl Walk<'_> {
    async fn tree(&mut self, subject: Digest, level: usize) -> Result<Vec<Tree>, Failure> {
        let mut found = Vec::new();
        for descriptor in self.client.referrers(self.repository, &subject, None).await? {
            if self.left == 0 {
                if !std::mem::replace(&mut self.is_full, true) {
                    self.incomplete.push(format!("only {MAX_SHOWN} referrers are shown; there are more"));
                }
                return Ok(found);
            }
            self.left -= 1;
            if level >= MAX_LEVEL {
                let why = format!("{}: only {MAX_LEVEL} levels are shown", descriptor.digest);
                self.incomplete.push(why);
                continue;
            }
            let referrers = Box::pin(self.tree(descriptor.digest, level + 1)).await?;
            found.push(Tree { descriptor, referrers });
        }
        Ok(found)
    }
}

fn draw(trees: &[Tree], indent: &str, text: &mut String) {
    for (at, tree) in trees.iter().enumerate() {
        let last = at + 1 == trees.len();
        let descriptor = &tree.descriptor;
        let kind = plain(descriptor.artifact_type.as_deref().unwrap_or(&descriptor.media_type));
        let branch = if last { "└─" } else { "├─" };
        let digest = paint(NAME, descriptor.digest);
        text.push_str(&format!("{indent}{branch} {digest} {kind} {}\n", size(descriptor.size)));
        draw(&tree.referrers, &format!("{indent}{}", if last { "   " } else { "│  " }), text);
    }
}

fn lines(names: &[String]) -> String {
    names.iter().map(|name| plain(name) + "\n").collect()
}
