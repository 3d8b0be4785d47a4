//! What clients and handles have in common: the way to the session's task, and what it shows.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};
use towline_proto::{
    Dialect,
    client::{Counters, Established, Loss, Request},
};
use towline_transport::Transport;
use towline_wire::{
    FeatureSet, SessionId,
    payload::{AgentListing, Jobs, MessageAccepted, PeerInfo, Questions, Subscribed},
};

use crate::{
    ClientError, ResumeState, SessionOver, feed::Feed, job::Seat, options::Traces,
    unsolicited::Unclaimed,
};

/// What clients and handles have in common: the way to the session's task.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) view: watch::Receiver<View>,
    pub(crate) unclaimed: Arc<Unclaimed>,
    pub(crate) result_cap: u64,
    pub(crate) buffer: usize,
    pub(crate) traces: Traces,
}

/// What the session's task shows.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) session: Option<Arc<SessionInfo>>,
    pub(crate) connection: Connection,
}

/// What the session's task is told.
#[derive(Debug)]
pub(crate) enum Command {
    Ask {
        request: Request,
        reply: oneshot::Sender<Result<Answer, ClientError>>,
    },
    ResumeWith {
        transport: Boxed,
        reply: oneshot::Sender<Result<(), ClientError>>,
    },
    ResumeState {
        reply: oneshot::Sender<Option<ResumeState>>,
    },
    Counters {
        reply: oneshot::Sender<Counters>,
    },
    Close {
        reason: String,
        reply: oneshot::Sender<()>,
    },
    Leave {
        reply: oneshot::Sender<()>,
    },
}

/// A transport, for `Debug`'s sake.
pub(crate) struct Boxed(pub(crate) Box<dyn Transport>);

impl std::fmt::Debug for Boxed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.info().fmt(f)
    }
}

/// What a request gave.
#[derive(Debug)]
pub(crate) enum Answer {
    Job(Seat),
    Subscribed(Seat, Box<Subscribed>),
    Jobs(Jobs),
    Spoken(MessageAccepted),
    Questions(Questions),
    Done,
}

/// How the session's connection is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Connection {
    /// It stands.
    Live,
    /// It was lost; another one is being made.
    Reconnecting {
        /// Tries so far, since the loss.
        attempts: u32,
        /// Why it was lost.
        cause: Loss,
    },
    /// It was lost, and there is no connector; see [`Client::resume_with`](crate::Client::resume_with).
    Lost {
        /// Why.
        cause: Loss,
    },
    /// The session is over.
    Over(SessionOver),
}

/// What was settled when the session was opened, or last resumed.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    established: Established,
}

impl SessionInfo {
    pub(crate) const fn new(established: Established) -> Self {
        Self { established }
    }

    /// The session.
    pub const fn id(&self) -> &SessionId {
        &self.established.session_id
    }

    /// The features in effect.
    pub const fn features(&self) -> FeatureSet {
        self.established.features
    }

    /// Who the runtime says it is.
    pub const fn runtime(&self) -> &PeerInfo {
        &self.established.welcome.runtime
    }

    /// The agents it hosts, as of the welcome.
    pub fn agents(&self) -> &[AgentListing] {
        &self.established.welcome.capabilities.agents
    }

    /// Whose reading of the draft it follows.
    pub const fn dialect(&self) -> Dialect {
        self.established.dialect
    }

    /// How long after a loss the session can be resumed, if the runtime said so.
    pub fn resume_window(&self) -> Option<Duration> {
        let seconds = self.established.welcome.resume_window_sec?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// How often a silent peer speaks; `None` without `heartbeat`.
    pub const fn heartbeat_interval(&self) -> Option<Duration> {
        self.established.heartbeat
    }
}

impl Shared {
    /// Asks the runtime, by way of the session's task.
    pub(crate) async fn ask(&self, request: Request) -> Result<Answer, ClientError> {
        self.tell(|reply| Command::Ask { request, reply }).await?
    }

    /// Whether the runtime counts a job's events by the job's own numbers [ARCP 7.6-3].
    pub(crate) fn counts_job_events(&self) -> bool {
        let session = self.view.borrow().session.clone();
        session.is_some_and(|session| session.dialect() == Dialect::Draft)
    }

    pub(crate) async fn unsubscribe(&self, feed: Feed) -> Result<(), ClientError> {
        let job = feed.job().clone();
        drop(feed);
        self.ask(Request::Unsubscribe { job }).await.map(|_| ())
    }

    pub(crate) async fn tell<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, ClientError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await.is_ok();
        let answer = if sent { answer.await.ok() } else { None };
        answer.ok_or_else(|| match over(&self.view) {
            Connection::Over(why) => ClientError::SessionOver(why),
            _ => ClientError::stopped(),
        })
    }
}

pub(crate) fn over(view: &watch::Receiver<View>) -> Connection {
    match view.borrow().connection.clone() {
        over @ Connection::Over(_) => over,
        _ => Connection::Over(SessionOver::Stopped),
    }
}
