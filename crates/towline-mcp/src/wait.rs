//! Waiting for a job, and asking the client's user what it asks.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::BoxFuture;
use rmcp::{
    RoleServer, ServiceError,
    model::{ElicitRequestParams, ElicitResult, ProtocolVersion},
    service::RequestContext,
};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};
use towline_runtime::policy::Refusal;
use towline_wire::{EventKind, JobId, JobSeq, QuestionId, Shown, event::InputRequest};

use crate::{
    desk::{Desk, Entry, JobLog, JobView},
    elicit::{self, Said},
    progress::Reports,
};

/// How long a call waits at most [ARCP 19-1].
pub(crate) const MOST: Duration = Duration::from_secs(50);

/// Why waiting came to an end.
pub(crate) enum Halt {
    /// The job has.
    Ended(JobView),
    /// The job asks, and nobody is asked here.
    Asks(JobView),
    /// The time is over, or the runtime shuts down.
    Time(JobView),
}

/// Who is asked what a job asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Nobody: the client has no user to show a form to.
    Nobody,
    /// The client's user, by a request while the call waits, as before 2026-07-28.
    ByRequest,
    /// The client's user, by a result that wants an answer, since 2026-07-28.
    ByResult,
}

impl Asks {
    /// What the client of a request can do.
    pub(crate) fn of(context: &RequestContext<RoleServer>) -> Self {
        let capabilities = context.client_capabilities();
        let forms = capabilities.and_then(|can| can.elicitation);
        // Naming no mode means forms.
        if !forms.is_some_and(|can| can.form.is_some() || can.url.is_none()) {
            return Self::Nobody;
        }
        let version = context.protocol_version();
        let is_new = version
            .is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str());
        if is_new {
            Self::ByResult
        } else {
            Self::ByRequest
        }
    }
}

/// One call that waits.
pub(crate) struct Waiting<'a> {
    pub(crate) desk: &'a dyn Desk,
    pub(crate) job: &'a JobId,
    pub(crate) context: &'a RequestContext<RoleServer>,
    pub(crate) asks: Asks,
    /// How long, while nobody is being asked anything.
    pub(crate) limit: Duration,
    /// Whether what the job did before counts as progress.
    pub(crate) from_start: bool,
}

/// What happens while a call waits.
enum News {
    Log(Vec<Entry>),
    Replied(Result<ElicitResult, ServiceError>),
    Step,
    Time,
    Gone,
}

/// A question the user is looking at.
struct Asking {
    question: InputRequest,
    since: Instant,
    reply: BoxFuture<'static, Result<ElicitResult, ServiceError>>,
}

impl Waiting<'_> {
    /// Waits until the job ends, asks, or the time is over. A client that takes its request back ends the waiting, and
    /// nothing else: the job goes on [ARCP 19-1].
    ///
    /// The log is read from where the job stood when it was looked at, so nothing falls in between.
    pub(crate) async fn run(self) -> Result<Halt, Refusal> {
        let mut deadline = Instant::now() + self.limit;
        let token = self.context.meta.get_progress_token();
        let mut reports = Reports::new(self.context.peer.clone(), token);
        let mut view = self.desk.job(self.job).await?;
        let from = if self.from_start {
            JobSeq::ZERO
        } else {
            view.last_seq
        };
        let mut log: Option<Box<dyn JobLog>> = None;
        let mut asking: Option<Asking> = None;
        let mut aside = BTreeSet::new();
        loop {
            if let Some(halt) = self.look(&view, &mut asking, &aside, &mut deadline) {
                if let (Halt::Ended(_), true, None) = (&halt, self.from_start, &log) {
                    self.catch_up(&mut reports, view.last_seq).await;
                }
                return Ok(halt);
            }
            let reading = match &mut log {
                Some(log) => log,
                none => none.insert(self.desk.log(self.job, from).await?),
            };
            match self.next(reading, &mut asking, &reports, deadline).await? {
                News::Log(entries) if entries.is_empty() => {
                    view = self.desk.job(self.job).await?;
                    let is_over = view.status.is_terminal();
                    return Ok(if is_over {
                        Halt::Ended(view)
                    } else {
                        Halt::Time(view)
                    });
                }
                News::Log(entries) => {
                    reports.heard(&entries).await;
                    if entries.iter().any(changes) {
                        view = self.desk.job(self.job).await?;
                    }
                }
                News::Replied(reply) => {
                    if let Some(asked) = asking.take() {
                        deadline += asked.since.elapsed();
                        aside.extend(self.replied(&asked.question, reply).await);
                    }
                    view = self.desk.job(self.job).await?;
                }
                News::Step => reports.step().await,
                News::Time => return Ok(Halt::Time(self.desk.job(self.job).await?)),
                News::Gone => return Ok(Halt::Time(view)),
            }
        }
    }

    /// Whether there is nothing more to wait for; else the user is asked what is to be asked.
    fn look(
        &self,
        view: &JobView,
        asking: &mut Option<Asking>,
        aside: &BTreeSet<QuestionId>,
        deadline: &mut Instant,
    ) -> Option<Halt> {
        if view.status.is_terminal() {
            return Some(Halt::Ended(view.clone()));
        }
        let settled = asking.take_if(|asked| {
            let id = &asked.question.question_id;
            !view.questions.iter().any(|open| open.question_id == *id)
        });
        // The time that people take is not the call's.
        *deadline += settled.map_or(Duration::ZERO, |asked| asked.since.elapsed());
        if view.questions.is_empty() || asking.is_some() {
            return None;
        }
        let put = |question: &InputRequest| {
            let can = self.asks == Asks::ByRequest && !aside.contains(&question.question_id);
            let request = elicit::request(self.job, question).filter(|_| can)?;
            Some(Asking {
                question: question.clone(),
                since: Instant::now(),
                reply: self.put(request),
            })
        };
        *asking = view
            .questions
            .iter()
            .filter(|open| may_answer(open))
            .find_map(put);
        asking.is_none().then(|| Halt::Asks(view.clone()))
    }

    fn put(
        &self,
        request: ElicitRequestParams,
    ) -> BoxFuture<'static, Result<ElicitResult, ServiceError>> {
        let peer = self.context.peer.clone();
        Box::pin(async move { peer.create_elicitation(request).await })
    }

    async fn next(
        &self,
        log: &mut Box<dyn JobLog>,
        asking: &mut Option<Asking>,
        reports: &Reports,
        deadline: Instant,
    ) -> Result<News, Refusal> {
        let is_asking = asking.is_some();
        let reply = async {
            match asking {
                Some(asking) => (&mut asking.reply).await,
                None => std::future::pending().await,
            }
        };
        Ok(tokio::select! {
            biased;
            () = self.context.ct.cancelled() => News::Gone,
            entries = log.next() => News::Log(entries?),
            reply = reply => News::Replied(reply),
            () = reports.due() => News::Step,
            // People take their time; the question has an end of its own.
            () = sleep_until(deadline), if !is_asking => News::Time,
        })
    }

    /// What the user said is told the job; gives the question where nothing could be.
    async fn replied(
        &self,
        question: &InputRequest,
        reply: Result<ElicitResult, ServiceError>,
    ) -> Option<QuestionId> {
        let aside = Some(question.question_id.clone());
        let said = match reply {
            Ok(reply) => elicit::said(self.job, question, &reply),
            Err(error) => {
                tracing::debug!(%error, "the client's user was not asked");
                Said::Nothing
            }
        };
        let Said::Answer(answer) = said else {
            return aside;
        };
        match self.desk.answer(self.job, answer).await {
            Ok(()) => None,
            Err(refusal) => {
                tracing::debug!(refusal = %Shown::new(&refusal), "an answer was refused");
                aside
            }
        }
    }

    /// A job that had ended when it was first looked at has its progress told all the same.
    async fn catch_up(&self, reports: &mut Reports, last: JobSeq) {
        if self.context.meta.get_progress_token().is_none() {
            return;
        }
        let Ok(mut log) = self.desk.log(self.job, JobSeq::ZERO).await else {
            return;
        };
        while let Ok(entries) = log.next().await {
            reports.heard(&entries).await;
            if entries.last().is_none_or(|entry| entry.seq >= last) {
                break;
            }
        }
    }
}

/// Whether an answer of this principal would be taken.
pub(crate) fn may_answer(question: &InputRequest) -> bool {
    question.may_answer != Some(false)
}

/// Whether the job stands otherwise after this.
fn changes(entry: &Entry) -> bool {
    #[derive(Deserialize)]
    struct Head {
        kind: EventKind,
    }
    if entry.message != "job.event" {
        return true;
    }
    let head = entry.payload.read::<Head>();
    head.is_ok_and(|head| {
        head.kind == EventKind::INPUT_REQUEST || head.kind == EventKind::INPUT_RESOLVED
    })
}
