//! Everything a black-box test stands on: servers on each backend, an HTTP client that checks what every
//! answer must have, images made on the spot, and external programs.

pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod postgres;
mod run_dir;
mod s3;
mod server;
pub(crate) mod tool;

pub(crate) use http::{Answer, Api};
pub(crate) use run_dir::{Child, RunDir, wait_until};
pub(crate) use server::{Backend, Registry};

/// Makes two tests of each `async fn name(registry: Registry)`: `name::sqlite_directory` and
/// `name::postgres_s3`.
macro_rules! on_each_backend {
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
