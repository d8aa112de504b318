//! Everything a black-box test stands on: servers on each backend, an HTTP client that checks what every
//! answer must have, images made on the spot, and external programs.

pub(crate) mod distribution;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod port;
pub(crate) mod postgres;
pub(crate) mod proxy;
mod run_dir;
pub(crate) mod s3;
mod server;
pub(crate) mod stores;
pub(crate) mod tool;

pub(crate) use http::{Answer, Api};
pub(crate) use run_dir::{Child, RunDir, wait_until};
pub(crate) use server::{Backend, Registry};

/// Makes two tests of each `async fn name(registry: Registry)`: `name::sqlite_directory` and
/// `name::postgres_s3`.
///
/// `on_each_backend!(SETTINGS => names…)` starts each registry with these settings instead of the defaults.
macro_rules! on_each_backend {
    ($settings:expr => $($name:ident),* $(,)?) => {$(
        mod $name {
            #[allow(unused_imports, reason = "the settings may need what the room imports")]
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite_directory() {
                let backend = $crate::harness::Backend::SqliteDirectory;
                if let Some(registry) = $crate::harness::Registry::start_with(backend, $settings).await {
                    super::$name(registry).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres_s3() {
                let backend = $crate::harness::Backend::PostgresS3;
                if let Some(registry) = $crate::harness::Registry::start_with(backend, $settings).await {
                    super::$name(registry).await;
                }
            }
        }
    )*};
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite_directory() {
                if let Some(registry) = $crate::harness::Registry::start($crate::harness::Backend::SqliteDirectory).await {
                    super::$name(registry).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres_s3() {
                if let Some(registry) = $crate::harness::Registry::start($crate::harness::Backend::PostgresS3).await {
                    super::$name(registry).await;
                }
            }
        }
    )*};
}
