//! A proxy before an object store that counts what goes through it and does harm: wrong answers, lost ones, broken,
//! slow and silent connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};

use crate::durability::random::Random;

/// What befalls a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Answered with this status, and not passed on.
    Status(u16),
    /// Sent to another host.
    Redirect,
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
        Some(Harm::Status(code)) => {
            drain(request.into_body()).await;
            let mut refused = Response::new(Harmed::nothing());
            *refused.status_mut() = StatusCode::from_u16(code).unwrap();
            return Ok(refused);
        }
        Some(Harm::Page) => {
            drain(request.into_body()).await;
            return Ok(Response::new(Harmed { text: Some(Bytes::from_static(PAGE)), ..Harmed::nothing() }));
        }
        Some(Harm::Redirect) => {
            drain(request.into_body()).await;
            let mut moved = Response::new(Harmed::nothing());
            *moved.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            let to = hyper::header::HeaderValue::from_static("http://other.example.org/x");
            moved.headers_mut().insert(hyper::header::LOCATION, to);
            return Ok(moved);
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
    if harm == Some(Harm::CutAfter) {
        drain(body).await;
        return Err(cut());
    }
    Ok(Response::from_parts(parts, Harmed::new(body, harm)))
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

const PAGE: &[u8] = b"<html><body>Sign in</body></html>";

/// A body to which something happens.
pub(crate) struct Harmed {
    /// Instead of a body.
    text: Option<Bytes>,
    body: Option<Incoming>,
    harm: Option<Harm>,
    passed: usize,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Harmed {
    fn nothing() -> Self {
        Self { text: None, body: None, harm: None, passed: 0, pause: None }
    }

    fn new(body: Incoming, harm: Option<Harm>) -> Self {
        Self { text: None, body: Some(body), harm, passed: 0, pause: None }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, std::io::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        loop {
            match std::task::ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(std::io::Error::other(error)))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Body for Harmed {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(text) = self.text.take() {
            return Poll::Ready(Some(Ok(Frame::data(text))));
        }
        if let Some(Harm::Truncate(at) | Harm::Stall(at) | Harm::Shorter(at)) = self.harm
            && self.passed >= at
        {
            return match self.harm {
                Some(Harm::Shorter(_)) => Poll::Ready(None),
                Some(Harm::Truncate(_)) => Poll::Ready(Some(Err(std::io::Error::other("cut")))),
                _ => Poll::Pending,
            };
        }
        if self.harm == Some(Harm::Slow) {
            let pause =
                self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(500))));
            std::task::ready!(pause.as_mut().poll(cx));
        }
        let mut piece = match std::task::ready!(self.next(cx)) {
            Some(Ok(piece)) => piece,
            other => return Poll::Ready(other.map(|other| other.map(Frame::data))),
        };
        self.pause = None;
        match self.harm {
            Some(Harm::Truncate(at) | Harm::Stall(at) | Harm::Shorter(at)) => {
                piece.truncate(at - self.passed)
            }
            Some(Harm::Flip) if self.passed == 0 && !piece.is_empty() => {
                let mut bytes = piece.to_vec();
                bytes[0] ^= 1;
                piece = bytes.into();
            }
            _ => {}
        }
        self.passed += piece.len();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.text.is_none() && self.harm.is_none() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        if let Some(text) = &self.text {
            return SizeHint::with_exact(text.len() as u64);
        }
        match (self.harm, &self.body) {
            (_, None) => SizeHint::with_exact(0),
            (Some(Harm::Shorter(length)), _) => SizeHint::with_exact(length as u64),
            (_, Some(body)) => body.size_hint(),
        }
    }
}
