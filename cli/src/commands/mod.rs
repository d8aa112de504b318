//! The subcommands, one file each. How to add one: a file with an `Args` struct and its `run`, then a variant
//! here; the compiler asks for the rest.

mod accounts;
mod asked;
mod attest;
mod audit;
mod can;
mod completions;
mod config;
mod cp;
mod fsck;
mod gate;
mod gc;
mod init;
mod inspect;
mod key;
mod login;
mod ls;
mod man;
mod org;
mod policy;
mod pull;
mod push;
mod rm;
mod robot;
mod sbom;
mod serve;
mod sign;
mod tag;
mod tag_rule;
mod tree;
mod user;
mod verify;
mod version;

use std::future::Future;

use clap::Subcommand;

use crate::exit::{Exit, Failure};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    // --- server side ---
    /// Run the registry server
    Serve(serve::Serve),
    /// Make the database of a new registry, before the server's first start
    Init(init::Init),
    /// Show, check and explain the server's configuration
    #[command(subcommand)]
    Config(config::Config),
    /// Show, explain and carry out the reclaiming of what nothing refers to
    #[command(subcommand)]
    Gc(gc::Gc),
    /// Compare the store with the database: missing, truncated, damaged and extra objects
    Fsck(fsck::Fsck),
    /// Look into the tags of this registry's database
    #[command(subcommand)]
    Tag(tag::Tag),
    /// Make, list and remove users, and set their passwords
    #[command(subcommand)]
    User(user::User),
    /// Make, list and remove robot accounts, whose tokens programs log in with
    #[command(subcommand)]
    Robot(robot::Robot),
    /// Organisations, and who has which role in them
    #[command(subcommand)]
    Org(org::Org),
    /// Tell whether a user may do something to a repository, and by which rule
    Can(can::Can),
    /// Show and export the audit trail
    Audit(audit::Audit),

    // --- client side ---
    /// Push an image layout, a layout archive or a docker save archive to a registry
    Push(push::Push),
    /// Pull an image, all platforms, into an image layout (or PATH.tar)
    Pull(pull::Pull),
    /// Copy an image between registries, with all platforms and what refers to it
    Cp(cp::Cp),
    /// Log in to a registry: Docker and podman find it too, and theirs is found
    Login(login::Login),
    /// Forget the login of a registry
    Logout(login::Logout),
    /// Show who is logged in at a registry, which is asked whether that still holds
    Whoami(login::Whoami),
    /// List repositories of a registry, or tags of a repository
    #[command(name = "ls", visible_alias = "list")]
    Ls(ls::Ls),
    /// Show what an image is made of
    #[command(name = "inspect", visible_alias = "show")]
    Inspect(inspect::Inspect),
    /// Remove a tag, or a manifest by digest
    #[command(name = "rm", visible_alias = "delete")]
    Rm(rm::Rm),
    /// List the packages in an image, an image file or a directory tree
    Sbom(sbom::SbomCommand),
    /// Ask policies whether images may be run, pulled or promoted; for CI
    Gate(gate::Gate),
    /// Check, test, explain and set policies
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Set the keys, certificates and roots that the policies of a registry name
    #[command(subcommand)]
    Trust(policy::trust::Trust),

    // --- evidence ---
    /// Make keys that sign, and show their public halves
    #[command(subcommand)]
    Key(key::Key),
    /// Sign an image with a private key; cosign and other tools verify it
    Sign(sign::Sign),
    /// Attach a signed statement to an image: provenance, an SBOM, a scan
    Attest(attest::Attest),
    /// Verify the signatures and attestations of an image
    Verify(verify::Verify),
    /// Draw an image with all that refers to it, and who signed what
    Tree(tree::Tree),

    // --- about rreg itself ---
    /// Show the version
    Version(version::Version),
    /// Write completions for a shell to standard output
    Completions(completions::Completions),
    /// Write manual pages into a directory
    Man(man::Man),
}

impl Command {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            // Stops in good order on its own.
            Self::Serve(command) => command.run(output).await,
            Self::Init(command) => command.run(output).await,
            Self::Config(command) => command.run(output),
            Self::Gc(command) => interruptible(command.run(output)).await,
            Self::Fsck(command) => interruptible(command.run(output)).await,
            Self::Tag(command) => interruptible(command.run(output)).await,
            Self::User(command) => command.run(output).await,
            Self::Robot(command) => command.run(output).await,
            Self::Org(command) => command.run(output).await,
            Self::Can(command) => command.run(output).await,
            Self::Audit(command) => command.run(output).await,
            Self::Push(command) => interruptible(command.run(output)).await,
            Self::Pull(command) => interruptible(command.run(output)).await,
            Self::Cp(command) => interruptible(command.run(output)).await,
            // Asks for passwords: Ctrl-C ends that question.
            Self::Login(command) => command.run(output).await,
            Self::Logout(command) => interruptible(command.run(output)).await,
            Self::Whoami(command) => interruptible(command.run(output)).await,
            Self::Ls(command) => interruptible(command.run(output)).await,
            Self::Inspect(command) => interruptible(command.run(output)).await,
            Self::Rm(command) => interruptible(command.run(output)).await,
            Self::Sbom(command) => interruptible(command.run(output)).await,
            // Asks for passwords: Ctrl-C ends that question.
            Self::Key(command) => command.run(output),
            Self::Sign(command) => interruptible(command.run(output)).await,
            Self::Attest(command) => interruptible(command.run(output)).await,
            Self::Verify(command) => interruptible(command.run(output)).await,
            Self::Tree(command) => interruptible(command.run(output)).await,
            Self::Gate(command) => interruptible(command.run(output)).await,
            Self::Policy(command) => interruptible(command.run(output)).await,
            Self::Trust(command) => interruptible(command.run(output)).await,
            Self::Version(command) => command.run(output),
            Self::Completions(command) => command.run(output),
            Self::Man(command) => command.run(output),
        }
    }
}

/// Runs client work until it ends or the user interrupts it. Dropping it removes what it had not finished.
async fn interruptible(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    tokio::select! {
        outcome = work => outcome,
        signal = tokio::signal::ctrl_c() => Err(match signal {
            Ok(()) => Failure::new(Exit::Interrupted, "interrupted"),
            Err(e) => Failure::new(Exit::Internal, format!("cannot listen for signals: {e}")),
        }),
    }
}
