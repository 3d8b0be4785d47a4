//! Following a job to its end, with the children it delegates to; shared by `run` and `watch`.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use towline::{
    JobId, JobStatus, Lease,
    client::{
        Client, ClientError, Connection, JobEvent, JobHandle, JobOutput, Outcome as JobOutcome,
        Subscription,
    },
    wire::{JobSeq, payload::Accepted},
};

use super::{
    asking::Asking,
    interruption::{Interruption, News},
    past::Past,
};
use crate::{
    connect::failed,
    exit,
    failure::Outcome,
    output::{self, Ending, EndingError, Follower, ResultText},
    signals::Signals,
};

/// How long children may be silent after their parent's end, which ends them too.
const LAST_NEWS: Duration = Duration::from_secs(5);

/// A job that is followed: one's own, or one that is watched.
pub(super) enum Followed {
    /// One's own, and the command that finds it where it goes on without this one.
    Own {
        handle: JobHandle,
        found_by: Option<String>,
    },
    Watched(Subscription),
    /// One that nobody runs: what there is of it.
    Left(Past),
}

impl Followed {
    async fn next_event(&mut self) -> Result<Option<JobEvent>, ClientError> {
        match self {
            Self::Own { handle, .. } => handle.next_event().await,
            Self::Watched(job) => job.next_event().await,
            Self::Left(past) => past.next_event().await,
        }
    }

    async fn outcome(&mut self) -> Result<JobOutcome, ClientError> {
        match self {
            Self::Own { handle, .. } => handle.outcome().await,
            Self::Watched(job) => job.outcome().await,
            Self::Left(past) => past.subscription.outcome().await,
        }
    }
}

/// What a child did.
enum FromChild {
    Began(Box<Accepted>),
    Said(JobEvent),
    Ended(Result<JobOutcome, ClientError>),
}

/// How following a job ended.
pub(super) struct End {
    /// The program's exit status.
    pub(super) status: u8,
    /// Whether somebody left before the job's end, and waits for nothing any more.
    pub(super) left: bool,
}

/// Follows a job of this session from its acceptance to its end. `found_by` is the command that finds it where it goes on when
/// this program ends.
pub(super) async fn follow_own(
    client: &Client,
    handle: JobHandle,
    found_by: Option<String>,
    follower: &mut Follower,
) -> Outcome<End> {
    let job = handle.id().clone();
    follower.accepted(&job, &accepted(&handle))?;
    let mut seen = JobSeq::ZERO;
    let followed = Followed::Own { handle, found_by };
    follow(client, &job, followed, follower, &mut seen).await
}

/// Follows a job until it ends. Ctrl-C cancels it when it is one's own, and a second one leaves, as does the first when the
/// runtime is silent; on a job that is only watched the first one leaves. `seen` is the last
/// event that was told before, and then the last that was told at all.
pub(super) async fn follow(
    client: &Client,
    job: &JobId,
    mut followed: Followed,
    follower: &mut Follower,
    seen: &mut JobSeq,
) -> Outcome<End> {
    let mut children = follower.shows_children().then(|| Children::of(client, job));
    let mut signals = Signals::new()?;
    let follower_is_human = follower.is_for_people();
    let mut state = Following {
        client,
        job,
        follower,
        own: matches!(followed, Followed::Own { .. }),
        seen,
        interruption: None,
        lost: false,
        asking: Asking::new(client, follower_is_human),
    };
    // One that lives on from round to round, so that no change falls between two.
    let mut changed = Box::pin(client.connection_changed());
    loop {
        let happened = tokio::select! {
            event = followed.next_event() => Happened::Event(event.map_err(failed)?),
            Some((child, news)) = next_news(children.as_mut()) => Happened::Child(child, news),
            _ = signals.next() => Happened::Signal,
            news = next_of(state.interruption.as_mut()) => Happened::Interruption(news),
            line = state.asking.line() => Happened::Line(line),
            _ = &mut changed => {
                changed = Box::pin(client.connection_changed());
                Happened::Connection(client.connection())
            }
        };
        match state.handle(happened)? {
            Next::Wait => {}
            Next::Ended => break,
            Next::Leave => {
                state.leave(&followed);
                return Ok(End {
                    status: exit::INTERRUPTED,
                    left: true,
                });
            }
        }
    }
    if let Some(children) = &mut children {
        while let Some((child, news)) = children.last_news().await {
            tell_child(state.follower, &child, news)?;
        }
    }
    let status = state.end(&mut followed).await?;
    Ok(End {
        status,
        left: false,
    })
}

/// What to react to.
enum Happened {
    Event(Option<JobEvent>),
    Child(JobId, FromChild),
    Signal,
    Interruption(News),
    /// Somebody typed.
    Line(Option<String>),
    Connection(Connection),
}

/// What comes after.
enum Next {
    Wait,
    Ended,
    Leave,
}

struct Following<'f> {
    client: &'f Client,
    job: &'f JobId,
    follower: &'f mut Follower,
    own: bool,
    /// The last event told.
    seen: &'f mut JobSeq,
    /// Since the first signal, of a job of one's own.
    interruption: Option<Interruption>,
    lost: bool,
    asking: Asking,
}

impl Following<'_> {
    fn handle(&mut self, happened: Happened) -> Outcome<Next> {
        match happened {
            Happened::Event(None) => return Ok(Next::Ended),
            Happened::Event(Some(event)) => {
                // A session that was taken up again may send what the history sends too.
                let again = event.job_seq().is_some_and(|seq| seq <= *self.seen);
                *self.seen = event.job_seq().unwrap_or(*self.seen).max(*self.seen);
                if !again {
                    tell(self.follower, self.job, &event)?;
                    self.ask(self.job, &event);
                }
            }
            Happened::Child(child, news) => {
                let said = match &news {
                    FromChild::Said(event) => Some(event.clone()),
                    FromChild::Began(_) | FromChild::Ended(_) => None,
                };
                tell_child(self.follower, &child, news)?;
                if let Some(event) = said {
                    self.ask(&child, &event);
                }
            }
            Happened::Line(line) => self.asking.typed(line.as_deref(), self.follower),
            Happened::Signal if self.interruption.is_some() || !self.own => return Ok(Next::Leave),
            Happened::Signal => {
                self.follower
                    .note("cancelling; Ctrl-C again leaves at once");
                let interruption = Interruption::of(self.client.clone(), self.job.clone());
                self.interruption = Some(interruption);
            }
            Happened::Interruption(News::Accepted) => {}
            Happened::Interruption(News::Refused(error)) => {
                let why = failed(error);
                self.follower
                    .note(&format!("the cancel was not accepted: {why}"));
            }
            Happened::Interruption(News::Silence) => return Ok(Next::Leave),
            Happened::Connection(connection) => self.connection(&connection),
        }
        Ok(Next::Wait)
    }

    /// A question is asked on the terminal.
    fn ask(&mut self, job: &JobId, event: &JobEvent) {
        if let Ok(payload) = event.payload() {
            self.asking.heard(job, &payload, self.follower);
        }
    }

    /// Says once that the connection is lost, and once that it is back: nothing is missed meanwhile.
    fn connection(&mut self, connection: &Connection) {
        let live = matches!(connection, Connection::Live);
        if let Some(interruption) = &mut self.interruption {
            interruption.connection(live);
        }
        if live == self.lost {
            self.lost = !live;
            let text = if live {
                "connected again"
            } else {
                "the connection is lost; connecting again"
            };
            self.follower.note(text);
        }
    }
}

impl Following<'_> {
    /// Tells how the job ended, or that nobody runs it. Returns the program's exit status.
    async fn end(&mut self, followed: &mut Followed) -> Outcome {
        if let Followed::Left(past) = followed {
            let status = &past.subscription.subscribed().current_status;
            return self.follower.interrupted(self.job, status);
        }
        let outcome = whole_outcome(self.client, self.job, followed).await?;
        let status = self.follower.ended(ending(self.job, outcome)?)?;
        if self.interruption.is_some() && status != exit::SUCCESS {
            return Ok(exit::INTERRUPTED);
        }
        Ok(status)
    }

    /// Says where a job goes on that was not told to end.
    fn leave(&self, followed: &Followed) {
        let is_told = self
            .interruption
            .as_ref()
            .is_some_and(Interruption::is_accepted);
        if let Followed::Own {
            found_by: Some(command),
            ..
        } = followed
            && !is_told
        {
            self.follower
                .note(&format!("the job goes on at the server: {command}"));
        }
    }
}

/// Cancel safe. Without an interruption it waits for ever.
async fn next_of(interruption: Option<&mut Interruption>) -> News {
    match interruption {
        Some(interruption) => interruption.next().await,
        None => std::future::pending().await,
    }
}

/// How the job ended, with its whole result.
async fn whole_outcome(
    client: &Client,
    job: &JobId,
    followed: &mut Followed,
) -> Outcome<JobOutcome> {
    let outcome = match followed.outcome().await {
        // Whoever began in the middle of a streamed result reads all of the job for it.
        Err(ClientError::Result(_)) if matches!(followed, Followed::Watched(_)) => {
            let again = client.subscribe(job.clone()).history(true).send().await;
            again.map_err(failed)?.outcome().await
        }
        outcome => outcome,
    };
    outcome.map_err(failed)
}

/// Cancel safe. Without children it waits for ever.
async fn next_news(children: Option<&mut Children>) -> Option<(JobId, FromChild)> {
    match children {
        Some(children) => children.news.recv().await,
        None => std::future::pending().await,
    }
}

fn tell(follower: &mut Follower, job: &JobId, event: &JobEvent) -> Outcome<()> {
    match event.payload() {
        Ok(payload) => follower.event(job, (event.event_seq(), event.job_seq()), &payload),
        Err(error) => {
            output::note(&format!(
                "an event cannot be read: {}",
                output::clean(error.to_string())
            ));
            Ok(())
        }
    }
}

fn tell_child(follower: &mut Follower, child: &JobId, news: FromChild) -> Outcome<()> {
    match news {
        FromChild::Began(accepted) => follower.accepted(child, &accepted),
        FromChild::Said(event) => tell(follower, child, &event),
        FromChild::Ended(Ok(outcome)) => follower.child_ended(ending(child, outcome)?),
        FromChild::Ended(Err(error)) => {
            output::note(&format!(
                "{} cannot be followed any more: {}",
                output::clean(child),
                failed(error)
            ));
            Ok(())
        }
    }
}

/// The tasks that follow the children of a job; they end when this is dropped.
struct Children {
    task: JoinHandle<()>,
    stop: CancellationToken,
    news: mpsc::Receiver<(JobId, FromChild)>,
}

impl Children {
    /// Jobs that come to this session without a request are children of its jobs (and, after a resume, the job itself,
    /// which is followed already).
    fn of(client: &Client, parent: &JobId) -> Self {
        let (to_us, news) = mpsc::channel(64);
        let (mut jobs, parent, stop) = (
            client.unsolicited_jobs(),
            parent.clone(),
            CancellationToken::new(),
        );
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut children = JoinSet::new();
            loop {
                let handle = tokio::select! {
                    biased;
                    handle = jobs.next() => handle,
                    // What the parent's end came after is here already.
                    () = stopped.cancelled() => jobs.try_next(),
                };
                let Some(handle) = handle else { break };
                if *handle.id() != parent {
                    children.spawn(follow_child(handle, to_us.clone()));
                }
            }
            children.join_all().await;
        });
        Self { task, stop, news }
    }

    /// No more children come: the parent ended. What they still have to say follows until `None`, or until it takes too
    /// long.
    async fn last_news(&mut self) -> Option<(JobId, FromChild)> {
        self.stop.cancel();
        tokio::time::timeout(LAST_NEWS, self.news.recv())
            .await
            .ok()
            .flatten()
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow_child(mut handle: JobHandle, to_us: mpsc::Sender<(JobId, FromChild)>) {
    let child = handle.id().clone();
    // The channel is closed when nobody follows any more.
    let mut open = to_us
        .send((child.clone(), FromChild::Began(Box::new(accepted(&handle)))))
        .await
        .is_ok();
    while let (true, Ok(Some(event))) = (open, handle.next_event().await) {
        open = to_us
            .send((child.clone(), FromChild::Said(event)))
            .await
            .is_ok();
    }
    let outcome = handle.outcome().await;
    drop(to_us.send((child, FromChild::Ended(outcome))).await);
}

/// What the runtime said when it accepted a job; little, where it did not say it again after a resume.
pub(super) fn accepted(handle: &JobHandle) -> Accepted {
    handle
        .accepted()
        .cloned()
        .unwrap_or_else(|| bare(handle.id()))
}

/// An acceptance that says nothing but the name.
pub(super) fn bare(job: &JobId) -> Accepted {
    Accepted {
        request_id: None,
        job_id: Some(job.clone()),
        agent: String::new(),
        lease: Lease::new(),
        lease_constraints: None,
        budget: None,
        credentials: None,
        accepted_at: None,
        trace_id: None,
        parent_job_id: None,
        delegate_id: None,
    }
}

/// How a job ended, in the form the output takes.
pub(super) fn ending(job: &JobId, outcome: JobOutcome) -> Outcome<Ending> {
    let job = job.clone();
    Ok(match outcome {
        JobOutcome::Success(success) => Ending {
            job,
            status: JobStatus::Success,
            result: Some(result_text(success.result)?),
            summary: success.summary,
            error: None,
            completed_at: success.completed_at,
        },
        JobOutcome::Failure(failure) => Ending {
            job,
            status: failure.final_status,
            result: None,
            summary: None,
            completed_at: failure.completed_at,
            error: Some(EndingError {
                code: failure.code,
                message: failure.message,
                retryable: failure.retryable,
                details: failure.details,
            }),
        },
    })
}

fn result_text(output: JobOutput) -> Outcome<ResultText> {
    Ok(match output {
        JobOutput::Inline {
            value,
            encoding: None,
        } => ResultText::Inline(value),
        JobOutput::Streamed { bytes, .. } => ResultText::Streamed(bytes.to_vec()),
        other => ResultText::Streamed(other.to_bytes().map_err(failed)?.to_vec()),
    })
}
