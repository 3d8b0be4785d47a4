//! Where connections come from.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use towline_transport::{Transport, TransportError};

/// A connection being made.
pub type Connecting<'a> =
    Pin<Box<dyn Future<Output = Result<Box<dyn Transport>, TransportError>> + Send + 'a>>;

/// Makes a connection whenever one is needed: the first, and one after every loss.
///
/// Closures that give a future of a transport are connectors:
///
/// ```
/// use towline_client::Connector;
/// use towline_transport::MemoryTransport;
///
/// fn takes(_: impl Connector) {}
/// takes(|| async {
///     let (near, _far) = MemoryTransport::pair();
///     Ok(near)
/// });
/// ```
pub trait Connector: Send + Sync + 'static {
    /// Makes a connection. It may take its time; a client gives up on it only when the session is over.
    ///
    /// # Errors
    /// [`TransportError`] when none came about; the client tries again later.
    fn connect(&self) -> Connecting<'_>;
}

impl<F, Made, T> Connector for F
where
    F: Fn() -> Made + Send + Sync + 'static,
    Made: Future<Output = Result<T, TransportError>> + Send,
    T: Transport,
{
    fn connect(&self) -> Connecting<'_> {
        Box::pin(async move {
            self()
                .await
                .map(|transport| Box::new(transport) as Box<dyn Transport>)
        })
    }
}

/// How long to wait between two tries to connect.
///
/// The wait doubles from `initial` up to `max`; of each, a random half is taken off, so that clients that lost the same
/// runtime do not come back at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
}

impl Backoff {
    /// Waits from `initial` up to `max`.
    pub const fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max }
    }

    /// The wait before try `attempt`, counted from 1; `random` decides the jitter.
    pub(crate) fn wait(&self, attempt: u32, random: u64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(20);
        let full = self.initial.saturating_mul(1 << doublings).min(self.max);
        let half = full / 2;
        let jitter = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(random % jitter.saturating_add(1))
    }
}

impl Default for Backoff {
    /// 250 ms up to 30 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(250), Duration::from_secs(30))
    }
}

impl fmt::Debug for dyn Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_limit_and_vary_by_half() {
        let backoff = Backoff::default();
        let range = |attempt| {
            (
                backoff.wait(attempt, 0).as_millis(),
                backoff.wait(attempt, 124_999_999).as_millis(),
            )
        };
        assert_eq!(range(1), (125, 249));
        assert_eq!(backoff.wait(2, 0).as_millis(), 250);
        assert_eq!(backoff.wait(40, 0), Duration::from_secs(15));
        assert!((1..99).all(|n| backoff.wait(n, u64::MAX) <= Duration::from_secs(30)));
    }
}
