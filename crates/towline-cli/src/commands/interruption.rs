//! What becomes of a job when the command that submitted it is told to end: it is cancelled, and its end is waited for as long as
//! the runtime is there. Where that is silent the command leaves, and the job goes on.

use std::time::Duration;

use tokio::{task::JoinHandle, time::Instant};
use towline::{
    JobId,
    client::{Client, ClientError},
};

/// How long a runtime that cannot be reached, or does not answer, is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// A job that is being cancelled.
pub(super) struct Interruption {
    asking: JoinHandle<Result<(), ClientError>>,
    is_answered: bool,
    is_accepted: bool,
    leaves_at: Option<Instant>,
}

/// What came of it.
pub(super) enum News {
    /// The job is to end; that is waited for.
    Accepted,
    /// The runtime did not accept it. The job may have ended meanwhile.
    Refused(ClientError),
    /// There was no word in time.
    Silence,
}

impl Interruption {
    /// Cancels the job.
    pub(super) fn of(client: Client, job: JobId) -> Self {
        Self {
            asking: tokio::spawn(async move { client.cancel(job, "interrupted").await }),
            is_answered: false,
            is_accepted: false,
            leaves_at: Some(Instant::now() + GRACE),
        }
    }

    /// Whether the runtime said that the job is to end.
    pub(super) const fn is_accepted(&self) -> bool {
        self.is_accepted
    }

    /// The connection was lost, or is there again. One that is lost brings no end.
    pub(super) fn connection(&mut self, is_live: bool) {
        if !is_live {
            self.leaves_at.get_or_insert(Instant::now() + GRACE);
        } else if self.is_accepted {
            self.leaves_at = None;
        }
    }

    /// Waits for what comes next. Cancel safe.
    pub(super) async fn next(&mut self) -> News {
        let late = async {
            match self.leaves_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            answer = &mut self.asking, if !self.is_answered => {
                self.is_answered = true;
                match answer {
                    Ok(Ok(())) => {
                        self.is_accepted = true;
                        self.leaves_at = None;
                        News::Accepted
                    }
                    Ok(Err(error)) => News::Refused(error),
                    // The task ends by itself only.
                    Err(_) => News::Silence,
                }
            }
            () = late => News::Silence,
        }
    }
}
