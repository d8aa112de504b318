//! A running server: started, watched through /proc, ended.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{Failure, cleanup};

/// Time to the first answer.
const START: Duration = Duration::from_secs(60);
/// Time to end after SIGTERM.
const STOP: Duration = Duration::from_secs(10);
/// A server that has used no tick of processor time for so long is idle.
const CALM: Duration = Duration::from_millis(250);

/// A server in a process group of its own.
pub(crate) struct Server {
    child: Child,
    group: Pid,
    pub(crate) address: SocketAddr,
    /// From exec to the first 200.
    pub(crate) started_in: Duration,
}

/// A port that nothing listens on now.
pub(crate) fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

impl Server {
    /// Starts a server and waits until `probe` is answered 200. Its output goes to `log`.
    pub(crate) fn start(mut command: Command, port: u16, probe: &str, log: &Path) -> Result<Self, Failure> {
        let output = fs::OpenOptions::new().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let started = Instant::now();
        let spawned = cleanup::spawn(&mut command);
        let (child, group) = spawned.map_err(|error| format!("{:?}: {error}", command.get_program()))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Self { child, group, address, started_in: Duration::ZERO };
        while !answers(address, probe) {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("ended at start with {status}: {}", tail(log)).into());
            }
            if started.elapsed() > START {
                return Err(format!("no 200 within {} s: {}", START.as_secs(), tail(log)).into());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        server.started_in = started.elapsed();
        Ok(server)
    }

    /// Processor time that the server has used, in seconds (user and system, all its processes and threads).
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let ticks: u64 = self.processes().iter().map(|process| process.ticks).sum();
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    /// Waits until the server does nothing any more, at most for `limit`: some tidy up after their start.
    pub(crate) fn settle(&self, limit: Duration) {
        let started = Instant::now();
        let mut before = self.cpu_seconds();
        while started.elapsed() < limit {
            std::thread::sleep(CALM);
            let now = self.cpu_seconds();
            if now <= before {
                return;
            }
            before = now;
        }
    }

    /// Resident bytes now.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Most resident bytes since the start.
    pub(crate) fn peak_resident(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> u64 {
        let kib = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix(field))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        self.processes().iter().filter_map(|process| kib(process.pid)).sum::<u64>() * 1024
    }

    fn processes(&self) -> Vec<Process> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let group = i64::from(self.group.as_raw_nonzero().get());
        pids.filter_map(Process::read).filter(|process| process.group == group).collect()
    }

    /// Ends the server, by force if it must be.
    fn end(&mut self) {
        // Both fail only when it has ended already.
        let _ = kill_process_group(self.group, Signal::TERM);
        let deadline = Instant::now() + STOP;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
        cleanup::group_ended(self.group);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Fields of /proc/PID/stat (proc(5)).
struct Process {
    pid: u32,
    group: i64,
    ticks: u64,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may contain anything; field 3 follows it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let group = fields.get(5 - 3)?.parse().ok()?;
        Some(Self { pid, group, ticks: number(14)? + number(15)? })
    }
}

fn answers(address: SocketAddr, probe: &str) -> bool {
    let ask = || -> Result<bool, std::io::Error> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(START))?;
        write!(stream, "GET {probe} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// What a server has logged last, errors before anything else: some print their usage behind them.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let errors: Vec<&str> = text.lines().filter(|line| line.to_lowercase().contains("error")).collect();
    let lines = if errors.is_empty() { text.lines().collect() } else { errors };
    lines[lines.len().saturating_sub(2)..].join(" / ")
}
