//! A proxy before an object store that counts what goes through it and does harm: wrong answers, lost ones, broken,
//! slow and silent connections.

mod body;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, LOCATION};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};

use self::body::Harmed;
use crate::durability::random::Random;

/// What befalls a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Answered with this status, and not passed on.
    Status(u16),
    /// The same, with a body.
    Said(u16, &'static str),
    /// Sent to another host.
    Redirect,
    /// Answered as if it had been carried out, and not passed on.
    Forget,
    /// The store does it, and says another entity tag.
    Retag,
    /// The bytes of a range that begins one byte later, which is said.
    Beside,
    /// The same, said to be what was asked for.
    BesideUnsaid,
    /// Answered as the first request of this kind was.
    Stale,
    /// Answered by a web page, as if all were well.
    Page,
    /// The connection ends before the store has heard of it.
    CutBefore,
    /// The store does it, and the connection ends before the answer.
    CutAfter,
    /// Nothing comes, ever.
    Hang,
    /// Nothing goes on until there is no harm any more.
    Hold,
    /// The answer stops after so many bytes of its body, and the connection ends.
    Truncate(usize),
    /// The answer stops after so many bytes of its body, and the connection stays.
    Stall(usize),
    /// The answer says that it has so many bytes, and has.
    Shorter(usize),
    /// One byte of the answer's body is another one.
    Flip,
    /// Half a second before each piece of the answer.
    Slow,
    /// What is sent is taken slowly, a tenth of a second for each 64 KiB.
    Sip,
}

/// Which requests, how many of them, and what befalls them.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    method: Method,
    /// A part of path and query.
    target: &'static str,
    times: usize,
    harm: Harm,
}

impl Rule {
    /// The next `times` requests with this method whose path and query contain `target`.
    pub(crate) fn new(method: Method, target: &'static str, times: usize, harm: Harm) -> Self {
        Self { method, target, times, harm }
    }
}

/// See the module's documentation. It ends with the test run.
#[derive(Clone)]
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    store: SocketAddr,
    rules: Mutex<Vec<Rule>>,
    /// Decides about the next request, where anything may befall any of them.
    random: Mutex<Option<Random>>,
    /// What the first answers to requests with [`Harm::Stale`] were, by path and query.
    stale: Mutex<HashMap<String, Bytes>>,
    /// Method, path and query of everything that came.
    seen: Mutex<Vec<(Method, String)>>,
    harmed: AtomicU64,
}

impl Proxy {
    /// Before the store at this address.
    pub(crate) fn before(store: SocketAddr) -> Self {
        let state = Arc::new(State {
            store,
            rules: Mutex::default(),
            random: Mutex::default(),
            stale: Mutex::default(),
            seen: Mutex::default(),
            harmed: AtomicU64::new(0),
        });
        let (sender, receiver) = mpsc::channel();
        let shared = state.clone();
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap()).unwrap();
                serve(listener, shared).await;
            });
        });
        Self { address: receiver.recv().unwrap(), state }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub(crate) fn harm(&self, rule: Rule) {
        self.state.rules.lock().unwrap().push(rule);
    }

    /// From now on one request in some befalls something, as the seed has it.
    pub(crate) fn storm(&self, seed: u64) {
        *self.state.random.lock().unwrap() = Some(Random::new(seed));
    }

    /// No more harm.
    pub(crate) fn mend(&self) {
        self.state.rules.lock().unwrap().clear();
        *self.state.random.lock().unwrap() = None;
    }

    /// How many requests were harmed.
    pub(crate) fn harmed(&self) -> u64 {
        self.state.harmed.load(Ordering::SeqCst)
    }

    /// How many requests came with this method and a path and query that contain `target`.
    pub(crate) fn count(&self, method: &Method, target: &str) -> usize {
        let seen = self.state.seen.lock().unwrap();
        seen.iter().filter(|(m, path)| m == method && path.contains(target)).count()
    }
}

impl State {
    fn is_harmful(&self) -> bool {
        !self.rules.lock().unwrap().is_empty()
    }

    fn fate(&self, method: &Method, target: &str) -> Option<Harm> {
        self.seen.lock().unwrap().push((method.clone(), target.to_owned()));
        if let Some(harm) = self.random.lock().unwrap().as_mut().and_then(|random| any_harm(random, method)) {
            self.harmed.fetch_add(1, Ordering::SeqCst);
            return Some(harm);
        }
        let mut rules = self.rules.lock().unwrap();
        let rule =
            rules.iter_mut().find(|r| r.times > 0 && r.method == *method && target.contains(r.target))?;
        rule.times -= 1;
        self.harmed.fetch_add(1, Ordering::SeqCst);
        Some(rule.harm)
    }
}

/// One in eight requests; silence, which takes time, is rare.
fn any_harm(random: &mut Random, method: &Method) -> Option<Harm> {
    if !random.one_in(8) {
        return None;
    }
    let at = random.below(1 << 20);
    let kind = random.below(if *method == Method::GET { 48 } else { 25 });
    Some(match kind {
        0..=7 => Harm::Status(404),
        8..=11 => Harm::Status(500),
        12..=15 => Harm::Status(503),
        16..=19 => Harm::CutBefore,
        20..=23 => Harm::CutAfter,
        24 => Harm::Hang,
        25..=35 => Harm::Truncate(at),
        36 => Harm::Stall(at),
        _ => Harm::Flip,
    })
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(state.clone(), request));
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// An error ends the connection.
async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Harmed>, std::io::Error> {
    let target = request.uri().path_and_query().map_or("/", |both| both.as_str()).to_owned();
    let harm = state.fate(request.method(), &target);
    let cut = || std::io::Error::other("cut");
    match harm {
        Some(made @ (Harm::Status(_) | Harm::Said(..) | Harm::Page | Harm::Redirect | Harm::Forget)) => {
            drain(request.into_body()).await;
            return Ok(made_up(made));
        }
        Some(Harm::CutBefore) => return Err(cut()),
        Some(Harm::Hold) => {
            while state.is_harmful() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Some(Harm::Hang) => match std::future::pending::<Infallible>().await {},
        _ => {}
    }
    let answer = if harm == Some(Harm::Sip) {
        let (parts, body) = request.into_parts();
        pass_on(state.store, Request::from_parts(parts, Full::new(sip(body).await))).await
    } else {
        pass_on(state.store, request).await
    };
    let (mut parts, body) = answer.map_err(std::io::Error::other)?.into_parts();
    if let Some(Harm::Shorter(length)) = harm {
        parts.headers.insert(hyper::header::CONTENT_LENGTH, length.into());
    }
    match harm {
        Some(Harm::CutAfter) => {
            drain(body).await;
            return Err(cut());
        }
        Some(Harm::Retag) => {
            parts.headers.insert(ETAG, HeaderValue::from_static("\"another\""));
        }
        Some(Harm::Beside | Harm::BesideUnsaid) => {
            let mut bytes = all_of(body).await.to_vec();
            let by = usize::from(!bytes.is_empty());
            bytes.rotate_left(by);
            if harm == Some(Harm::Beside) {
                move_range(&mut parts.headers);
            }
            let text = Some(Bytes::from(bytes));
            return Ok(Response::from_parts(parts, Harmed::saying(text)));
        }
        Some(Harm::Stale) => {
            let now = all_of(body).await;
            let text = state.stale.lock().unwrap().entry(target).or_insert(now).clone();
            parts.headers.remove(CONTENT_LENGTH);
            return Ok(Response::from_parts(parts, Harmed::saying(Some(text))));
        }
        _ => {}
    }
    Ok(Response::from_parts(parts, Harmed::new(body, harm)))
}

/// An answer that the store knows nothing of.
fn made_up(harm: Harm) -> Response<Harmed> {
    let (code, text) = match harm {
        Harm::Status(code) => (code, ""),
        Harm::Said(code, text) => (code, text),
        Harm::Page => (200, PAGE),
        Harm::Redirect => (307, ""),
        _ => (200, ""),
    };
    let text = Some(Bytes::from_static(text.as_bytes())).filter(|text| !text.is_empty());
    let mut answer = Response::new(Harmed::saying(text));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap();
    match harm {
        Harm::Redirect => {
            let to = HeaderValue::from_static("http://other.example.org/x");
            answer.headers_mut().insert(LOCATION, to);
        }
        Harm::Forget => {
            answer
                .headers_mut()
                .insert(ETAG, HeaderValue::from_static("\"d41d8cd98f00b204e9800998ecf8427e\""));
        }
        _ => {}
    }
    answer
}

/// One byte later.
fn move_range(headers: &mut HeaderMap) {
    let moved = headers.get(CONTENT_RANGE).and_then(|range| {
        let (range, total) = range.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        HeaderValue::from_str(&format!("bytes {}-{}/{total}", first + 1, last + 1)).ok()
    });
    if let Some(moved) = moved {
        headers.insert(CONTENT_RANGE, moved);
    }
}

async fn all_of(mut body: Incoming) -> Bytes {
    let mut all = Vec::new();
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        all.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    all.into()
}

async fn pass_on<B>(store: SocketAddr, request: Request<B>) -> Result<Response<Incoming>, String>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(store).await.map_err(|e| e.to_string())?;
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(|e| e.to_string())
}

async fn drain(mut body: Incoming) {
    while let Some(Ok(_)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {}
}

async fn sip(mut body: Incoming) -> Bytes {
    let mut all = Vec::new();
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let piece = frame.into_data().unwrap_or_default();
        all.extend_from_slice(&piece);
        tokio::time::sleep(Duration::from_micros(100_000 * piece.len() as u64 / (64 << 10))).await;
    }
    all.into()
}

const PAGE: &str = "<html><body>Sign in</body></html>";
