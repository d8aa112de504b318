//! `rreg completions SHELL`

use clap::Args;
use clap_complete::Shell;
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::command_line(), "rreg", &mut script);
        let script = String::from_utf8_lossy(&script).into_owned();
        output.result(&json!({ "shell": self.shell.to_string(), "script": script }), || script.clone())
    }
}
