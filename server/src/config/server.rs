//! `[server]`: where and how the server listens.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::auth::AuthMode;
use super::error::Findings;
use super::networks::Networks;
use super::section::section;
use super::units::{ByteSize, HumanDuration};

section! {
    /// Where and how the server listens, and what it takes from one client.
    pub struct Server {
        /// Address and port. An address that other machines reach needs TLS and authentication, or `insecure`.
        listen: SocketAddr = (Ipv4Addr::LOCALHOST, 5000).into(),
        /// Allows an address that other machines reach without TLS and authentication.
        insecure: bool = false,
        /// Proxies that do TLS and pass requests on to this server: addresses and networks. Of them, and of nobody else,
        /// `Forwarded` and `X-Forwarded-For`, `-Proto`, `-Host` and `-Port` are believed, so that the realm of logins, the
        /// audit trail, the log and the shares of clients are about the client. A proxy has to set them itself and must not
        /// pass on what the client says. Without TLS here, what they did not get by https is refused, unless
        /// `listen` is on loopback or `insecure`.
        trusted_proxies: Networks = Networks::default(),
        /// Whether `Location` of uploads and content is a whole address (as `auth.url`, or as the client came here) instead
        /// of a path.
        absolute_locations: bool = false,
        /// Refuses every push and delete: for maintenance and mirrors.
        read_only: bool = false,
        /// Time for the head of a request; idle keep-alive connections end after it, too.
        header_timeout: HumanDuration = HumanDuration::seconds(10),
        /// Longest pause of a client in the middle of a request body, or in taking a response.
        body_idle_timeout: HumanDuration = HumanDuration::seconds(60),
        /// Fewest bytes a second of a request body, over the length of `body_idle_timeout`. 0: any.
        body_min_rate: ByteSize = ByteSize::kib(1),
        /// Time that requests in flight get to finish after SIGTERM.
        shutdown_timeout: HumanDuration = HumanDuration::seconds(30),
        /// Open connections; further clients wait in the kernel's queue. 1 to 1000000.
        max_connections: u32 = 10_000,
        /// Largest request head (request line and header fields). 8KiB to 1MiB.
        max_header_bytes: ByteSize = ByteSize::kib(64),
        /// Blob uploads that receive bytes at the same time; more are answered 429. 1 to 100000.
        max_concurrent_uploads: u32 = 256,
        sections {
            /// TLS from PEM files.
            tls: Tls,
        }
    }
}

section! {
    /// TLS from PEM files. All of them are read again when they change, and on SIGHUP.
    pub struct Tls {
        /// Certificate chain, the server's own certificate first. With `key`, turns TLS on.
        cert: Option<PathBuf> = None,
        /// Private key of `cert`: PKCS#8, PKCS#1 or SEC1.
        key: Option<PathBuf> = None,
        /// Authorities of client certificates. When set, every client must present a certificate of theirs.
        client_ca: Option<PathBuf> = None,
    }
}

impl Tls {
    /// Whether connections are encrypted.
    pub fn is_enabled(&self) -> bool {
        self.cert.is_some() && self.key.is_some()
    }
}

impl Server {
    pub(crate) fn validate(&self, findings: &mut Findings, mode: AuthMode) {
        for (field, value) in [
            ("server.header_timeout", self.header_timeout),
            ("server.body_idle_timeout", self.body_idle_timeout),
        ] {
            findings.within(field, value, HumanDuration::seconds(1), HumanDuration::seconds(3600));
        }
        findings.within("server.max_connections", self.max_connections, 1, 1_000_000);
        findings.within("server.max_header_bytes", self.max_header_bytes, ByteSize::kib(8), ByteSize::mib(1));
        findings.within("server.max_concurrent_uploads", self.max_concurrent_uploads, 1, 100_000);
        let tls = &self.tls;
        if tls.cert.is_some() || tls.client_ca.is_some() {
            findings.required("server.tls.key", tls.key.as_ref(), "TLS needs the certificate's key");
        }
        if tls.key.is_some() || tls.client_ca.is_some() {
            findings.required("server.tls.cert", tls.cert.as_ref(), "TLS needs a certificate");
        }
        self.refuse_open_to_others(findings, mode);
    }

    /// Anybody who reaches the address may push and pull unless clients are authenticated: by a login
    /// (`auth.mode`) or by a certificate. Both need TLS, here or at a proxy that is known.
    fn refuse_open_to_others(&self, findings: &mut Findings, mode: AuthMode) {
        let encrypted = self.tls.is_enabled() || !self.trusted_proxies.is_empty();
        let certificates = self.tls.is_enabled() && self.tls.client_ca.is_some();
        let authenticated = encrypted && (mode == AuthMode::Local) || certificates;
        if self.insecure || authenticated || self.listen.ip().to_canonical().is_loopback() {
            return;
        }
        findings.reject(
            "server.listen",
            "other machines reach this address, and without TLS and authentication any of them could read and \
             replace images. Five ways out: \
             (1) listen on loopback, as with --listen 127.0.0.1:5000; \
             (2) set server.tls.cert and server.tls.key, and auth.mode = \"local\" with users of `rreg user create`; \
             (3) set server.tls.cert, server.tls.key and server.tls.client_ca, so that only clients with a \
             certificate get in; \
             (4) set server.trusted_proxies to the addresses of a proxy that does TLS, and auth.mode = \"local\"; \
             (5) accept the risk with --insecure or server.insecure = true",
            None,
        );
    }
}
