//! rreg beside other registries on this machine: `cargo bench -p rreg --bench peers`.
//!
//! Each server runs alone, over a store of its own on disk, with plain HTTP on loopback. A round takes every
//! scenario to every server; the order of servers turns from round to round, so that what else happens on the
//! machine hits all of them. Only ratios of one run mean something: numbers of two runs do not compare.

mod cleanup;
mod content;
mod fixtures;
mod histogram;
mod http;
mod load;
mod measure;
mod mirror;
mod peers;
mod policy;
mod process;
mod raw;
mod report;
mod response;
mod rounds;
mod scale;
mod scenarios;
mod upstream;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use self::content::Blob;
use self::scale::Scale;
use self::scenarios::Scenario;

/// What anything here fails with.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// First argument that makes this program the bare server of `raw.rs`; its port follows.
pub(crate) const RAW_SERVER: &str = "--raw-server";
/// The same for the upstream of `upstream.rs`; port, bytes a second and milliseconds of delay follow.
pub(crate) const UPSTREAM_SERVER: &str = "--upstream-server";

/// Measures rreg and every other registry found on this machine.
#[derive(Parser)]
#[command(name = "peers", after_help = HELP)]
struct Args {
    /// Only scenarios whose names begin so
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Only these servers
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    peers: Vec<String>,
    /// How often everything is measured
    #[arg(long, value_name = "N")]
    rounds: Option<u32>,
    /// Little of everything: to see that it works, not for numbers
    #[arg(long)]
    quick: bool,
    /// Measures pull-through caches instead
    #[arg(long)]
    mirror: bool,
    /// Measures what policies cost instead; --only names its parts
    #[arg(long, conflicts_with = "mirror")]
    policy: bool,
    /// Where stores go: on a real disk [default: the build directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Also write all samples as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write the table
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Show scenarios and servers, and end
    #[arg(long)]
    list: bool,
    /// Given by `cargo bench`; without it (`cargo test --all-targets`) nothing is measured
    #[arg(long, hide = true)]
    bench: bool,
}

const HELP: &str = "Servers that are looked for: docker-registry (Debian), registry (distribution 3, in PATH or where \
`go install` puts it), zot (PATH or RREG_BENCH_ZOT=/path), nginx. Any other: \
RREG_BENCH_PEER_<NAME>=\"program arguments\" with {port} and {dir} in the arguments.";

/// What all measurements share.
pub(crate) struct Bench {
    pub(crate) scale: Scale,
    pub(crate) large: RefCell<Blob>,
    numbers: Cell<u64>,
}

impl Bench {
    fn new(scale: Scale) -> Self {
        let large = RefCell::new(Blob::random(7, scale.large));
        Self { scale, large, numbers: Cell::new(1) }
    }

    /// A number that was not given before in this run: for content that no server has seen.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.replace(self.numbers.get() + 1)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some(RAW_SERVER) => return raw::serve(words.next().ok_or("no port")?.parse()?),
        Some(UPSTREAM_SERVER) => return upstream::serve(words),
        _ => {}
    }
    let args = Args::parse();
    if !args.bench {
        anstream::println!("nothing is measured without --bench: run `cargo bench -p rreg --bench peers`");
        return Ok(());
    }
    // The program lies in <build directory>/release/deps.
    let program = std::env::current_exe()?;
    let parent =
        args.dir.as_deref().or_else(|| program.ancestors().nth(3)).ok_or("no directory for stores")?;
    let parent = std::path::absolute(parent)?;
    let machine = report::machine();
    let mut servers = peers::discover()?;
    if args.policy {
        let directory = cleanup::WorkingDirectory::create(&parent)?;
        anstream::println!("Machine: {machine}");
        return policy::measure(&servers, args.quick, &args.only, directory.path());
    }
    let mut chosen: Vec<&Scenario> = scenarios::ALL.iter().collect();
    if args.list {
        return list(&servers, &chosen);
    }
    chosen.retain(|scenario| {
        args.only.is_empty() || args.only.iter().any(|name| scenario.name.starts_with(name))
    });
    servers.retain(|peer| args.peers.is_empty() || args.peers.contains(&peer.name));
    if chosen.is_empty() || servers.is_empty() {
        return Err("nothing is left to measure; --list shows the names of scenarios and servers".into());
    }
    let mut scale = if args.quick { Scale::QUICK } else { Scale::FULL };
    scale.rounds = args.rounds.unwrap_or(scale.rounds).max(1);

    let directory = cleanup::WorkingDirectory::create(&parent)?;
    if args.mirror {
        let text = mirror::measure(&servers, args.rounds.unwrap_or(3).max(1), directory.path())?;
        anstream::println!("Machine: {machine}\n{text}");
        return Ok(());
    }
    let results = rounds::measure(&Bench::new(scale), &chosen, &servers, directory.path())?;
    drop(directory);
    let text = report::markdown(&scale, &machine, &servers, &results);
    anstream::println!("{text}");
    if let Some(file) = args.markdown {
        std::fs::write(file, &text)?;
    }
    if let Some(file) = args.json {
        std::fs::write(file, report::json(&scale, &machine, &servers, &results)?)?;
    }
    Ok(())
}

fn list(servers: &[peers::Peer], chosen: &[&Scenario]) -> Result<(), Failure> {
    for scenario in chosen {
        anstream::println!("{:16} {}", scenario.name, scenario.title);
    }
    anstream::println!();
    for peer in servers {
        anstream::println!("{:16} {}", peer.name, peer.version());
    }
    Ok(())
}
