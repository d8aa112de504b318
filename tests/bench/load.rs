//! The load generator: many keep-alive connections in one thread over epoll, each with one request in flight.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::Failure;
use super::histogram::Histogram;
use super::response::ResponseReader;

/// A server that answers nothing for so long has failed.
const SILENCE: Duration = Duration::from_secs(60);
const READ_BUFFER: usize = 256 << 10;

/// When to stop.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    Elapsed(Duration),
    Requests(u64),
}

/// What was seen.
pub(crate) struct Outcome {
    pub(crate) latencies: Histogram,
    pub(crate) elapsed: Duration,
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    written: usize,
    response: ResponseReader,
    sent: Instant,
    idle: bool,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            request: Vec::new(),
            written: 0,
            response: ResponseReader::new(),
            sent: Instant::now(),
            idle: true,
        })
    }

    fn begin(&mut self, number: u64, next: &mut dyn FnMut(u64, &mut Vec<u8>)) -> Result<(), Failure> {
        self.request.clear();
        next(number, &mut self.request);
        self.response.reset(self.request.starts_with(b"HEAD "));
        self.written = 0;
        self.idle = false;
        self.sent = Instant::now();
        self.write()
    }

    fn write(&mut self) -> Result<(), Failure> {
        while self.written < self.request.len() {
            match self.stream.write(&self.request[self.written..]) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what is there; whether the response is complete.
    fn read(&mut self, buffer: &mut [u8]) -> Result<bool, Failure> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(n) => {
                    self.response.feed(&buffer[..n], |_| {})?;
                    if self.response.is_done() {
                        return Ok(true);
                    }
                    if n < buffer.len() {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Sends requests over `connections` connections, as fast as they are answered. `next` writes the request with
/// the given number; every answer must have a status of `expected`.
pub(crate) fn run(
    address: SocketAddr,
    connections: usize,
    until: Until,
    expected: &[u16],
    mut next: impl FnMut(u64, &mut Vec<u8>),
) -> Result<Outcome, Failure> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut open = Vec::with_capacity(connections);
    for index in 0..connections {
        let connection = Connection::open(address)?;
        // Edge-triggered writability costs nothing while requests fit the socket's buffer, which they do.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&epoll, &connection.stream, epoll::EventData::new_u64(index as u64), flags)?;
        open.push(connection);
    }
    let mut buffer = vec![0; READ_BUFFER];
    let mut events = Vec::with_capacity(connections);
    let mut latencies = Histogram::new();
    let (limit, deadline) = match until {
        Until::Elapsed(time) => (u64::MAX, Some(time)),
        Until::Requests(count) => (count, None),
    };
    let started = Instant::now();
    let mut sent = 0;
    for connection in open.iter_mut().take(usize::try_from(limit).unwrap_or(connections)) {
        connection.begin(sent, &mut next)?;
        sent += 1;
    }
    let timeout = Timespec::try_from(SILENCE)?;
    while latencies.count() < limit {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&timeout))?;
        if events.is_empty() {
            return Err(format!("no answer within {} s", SILENCE.as_secs()).into());
        }
        for event in &events {
            let event: &epoll::Event = event;
            let index = usize::try_from(event.data.u64())?;
            let connection = &mut open[index];
            if connection.idle {
                continue;
            }
            connection.write()?;
            if !connection.read(&mut buffer)? {
                continue;
            }
            latencies.record(connection.sent.elapsed());
            let status = connection.response.status();
            if !expected.contains(&status) {
                return Err(unexpected(status, &connection.request));
            }
            connection.idle = true;
            if sent < limit {
                connection.begin(sent, &mut next)?;
                sent += 1;
            }
        }
        if deadline.is_some_and(|time| started.elapsed() >= time) {
            break;
        }
    }
    Ok(Outcome { latencies, elapsed: started.elapsed() })
}

fn unexpected(status: u16, request: &[u8]) -> Failure {
    let line = request.split(|c| *c == b'\r').next().unwrap_or_default();
    format!("{} answered {status}", String::from_utf8_lossy(line)).into()
}
