//! Against a small server.
