//! `rreg man DIR`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct Man {
    /// Directory for the pages, for example /usr/local/share/man/man1
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

#[derive(Serialize)]
struct Written {
    directory: PathBuf,
    pages: Vec<String>,
}

impl Man {
    pub(crate) fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let directory = self.directory.clone();
        let shown = directory.display().to_string();
        let failed = |e: std::io::Error| Failure::new(Exit::Input, format!("cannot write to {shown}: {e}"));
        std::fs::create_dir_all(&directory).map_err(failed)?;
        clap_mangen::generate_to(crate::command_line(), &directory).map_err(failed)?;
        let mut pages = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if name.starts_with("rreg") && name.ends_with(".1") {
                pages.push(name);
            }
        }
        pages.sort();
        let written = Written { directory, pages };
        output.done(&written, || format!("{} pages written to {shown}\n", written.pages.len()))
    }
}
