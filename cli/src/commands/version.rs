//! `rreg version`

use clap::Args;
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct Version {}

#[derive(Serialize)]
struct About {
    name: &'static str,
    version: &'static str,
    distribution_spec: &'static str,
    os: &'static str,
    architecture: &'static str,
}

impl Version {
    pub(crate) fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let about = About {
            name: "rreg",
            version: env!("CARGO_PKG_VERSION"),
            distribution_spec: "1.1",
            os: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
        };
        output.result(&about, || {
            let About { name, version, distribution_spec, os, architecture } = &about;
            format!("{name} {version} (OCI distribution {distribution_spec}, {os}/{architecture})\n")
        })
    }
}
