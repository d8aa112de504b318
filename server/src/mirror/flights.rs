//! One piece of work for all who ask for the same thing at the same time.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

type Running<K, V> = Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>;

/// Work under way, by what it is about.
pub(crate) struct Flights<K, V>(Running<K, V>);

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// Takes the entry out, whichever way the work ends.
struct Landing<K: Eq + Hash, V>(Running<K, V>, K);

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The result of the work on `key`, begun with `work` unless it is under way. It goes on when nobody waits any
    /// more. `None` when it ended without a result.
    pub(crate) async fn join<F>(&self, tasks: &TaskTracker, key: K, work: impl FnOnce() -> F) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let Ok(result) = self.join_if(tasks, key, || Ok::<_, Infallible>(work())).await;
        result
    }

    /// The same, where `work` may have a reason not to begin.
    pub(crate) async fn join_if<F, E>(
        &self,
        tasks: &TaskTracker,
        key: K,
        work: impl FnOnce() -> Result<F, E>,
    ) -> Result<Option<V>, E>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut receiver = {
            let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match running.get(&key) {
                Some(receiver) => receiver.clone(),
                None => {
                    let work = work()?;
                    let (sender, receiver) = watch::channel(None);
                    running.insert(key.clone(), receiver.clone());
                    let landing = Landing(self.0.clone(), key);
                    tasks.spawn(async move {
                        let result = work.await;
                        // Whoever comes now sees what the work has left behind, so it need not be joined.
                        drop(landing);
                        sender.send_replace(Some(result));
                    });
                    receiver
                }
            }
        };
        let result = receiver.wait_for(Option::is_some).await;
        Ok(result.ok().and_then(|result| result.clone()))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_under_way_needs_no_reason_to_begin() {
        let (tasks, flights) = (TaskTracker::new(), Flights::<u8, u8>::default());
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut first =
            std::pin::pin!(flights.join(&tasks, 1, || async { receiver.await.unwrap_or_default() }));
        assert!(first.as_mut().now_or_never().is_none());
        let never = || Err::<std::future::Ready<u8>, _>("refused");
        assert_eq!(flights.join_if(&tasks, 2, never).await, Err("refused"));
        assert_eq!(
            flights.join(&tasks, 2, || async { 3 }).await,
            Some(3),
            "what was refused is not under way"
        );
        let mut joined = std::pin::pin!(flights.join_if(&tasks, 1, never));
        assert!(joined.as_mut().now_or_never().is_none());
        sender.send(7).unwrap();
        assert_eq!((first.await, joined.await), (Some(7), Ok(Some(7))));
    }
}
