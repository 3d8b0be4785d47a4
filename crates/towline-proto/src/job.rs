//! The life of a job (§7.3).
//!
//! ```text
//!            start                 finish
//!  Pending ─────────▶ Running ─────────────────────────▶ Ended
//!     │                  │ stop (cancel, timeout, expiry,  ▲
//!     │                  │       shutdown)                 │ finish, whatever it says
//!     │                  └──────────▶ Ending ──────────────┘
//!     └────────── stop, or finish before the start ───────▶┘
//! ```
//!
//! A runtime that shuts down may *release* a job that has not ended: it is left as it stands, for the next one.
//!
//! All of it, `·` for "the same":
//!
//! ```text
//!          │ start   stop   finish release
//! ─────────┼──────────────────────────────
//! Pending  │ Running Ended  Ended  Released
//! Running  │ ·       Ending Ended  Released
//! Ending   │ ·       ·      Ended  ·
//! Released │ ·       Ending ·      ·
//! Ended    │ ·       ·      ·      ·
//! ```

mod cause;
mod retry;

use std::fmt;

use towline_wire::{
    CallId, ErrorCode, JobId, JobStatus, MessageType, RawJson, ResultId, Timestamp, payload,
};

pub use cause::Cause;
pub use retry::Retries;

/// One job's lifecycle. Drive it with one call for each thing that happens; each says what follows. Whatever races, the
/// first end that is recorded wins, and exactly one call returns a [`Terminal`] [ARCP 7.3-5].
#[derive(Debug)]
pub struct JobMachine {
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Pending,
    Running,
    /// The end is decided; the agent has to stop first.
    Ending(Cause),
    /// Another runtime takes it up in this status.
    Released(JobStatus),
    Ended(JobStatus),
}

/// What the agent's end was.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It returned this.
    Returned(RawJson),
    /// It streamed its result.
    Streamed {
        /// The stream.
        result_id: ResultId,
        /// Its size in decoded bytes.
        size: u64,
        /// For a person.
        summary: Option<String>,
    },
    /// It gave up.
    Failed(Failure),
}

/// Why an agent gave up.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The code.
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
    /// For a program.
    pub details: Option<RawJson>,
}

/// A job's last message.
#[derive(Debug, Clone, PartialEq)]
pub struct Terminal {
    /// The status it ends in.
    pub status: JobStatus,
    body: Body,
}

#[derive(Debug, Clone, PartialEq)]
enum Body {
    Success(Outcome),
    Failure(Failure),
}

/// What a request to stop a job comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    /// It never began: this is its end.
    EndNow(Terminal),
    /// Its agent has to stop now; [`JobMachine::finish`] gives the end.
    StopAgent,
    /// It is already being stopped for the same reason.
    Already,
    /// It has ended, or will end, in this status for another reason.
    TooLate(JobStatus),
}

impl JobMachine {
    /// A job that has been accepted.
    pub const fn new() -> Self {
        Self {
            phase: Phase::Pending,
        }
    }

    /// A job whose agent ran, or was being stopped, when the runtime died.
    pub fn restored(status: JobStatus, ending: Option<Cause>) -> Self {
        let phase = match (status, ending) {
            (status, _) if status.is_terminal() => Phase::Ended(status),
            (_, Some(cause)) => Phase::Ending(cause),
            (JobStatus::Pending, None) => Phase::Pending,
            (_, None) => Phase::Running,
        };
        Self { phase }
    }

    /// The status listings show. A job that is being stopped is still running.
    pub fn status(&self) -> JobStatus {
        match &self.phase {
            Phase::Pending => JobStatus::Pending,
            Phase::Running | Phase::Ending(_) => JobStatus::Running,
            Phase::Released(status) | Phase::Ended(status) => *status,
        }
    }

    /// The end that is decided and not reached.
    pub fn ending(&self) -> Option<&Cause> {
        match &self.phase {
            Phase::Ending(cause) => Some(cause),
            _ => None,
        }
    }

    /// Whether the job may still add to its log.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Ending(_))
    }

    /// The agent begins; `false` when the job has ended meanwhile and must not begin.
    pub fn start(&mut self) -> bool {
        match self.phase {
            Phase::Pending => {
                self.phase = Phase::Running;
                true
            }
            Phase::Running | Phase::Ending(_) | Phase::Released(_) | Phase::Ended(_) => false,
        }
    }

    /// The runtime ends before the job does, and another one takes the job up as it stands: nothing is added to its log any
    /// more, and no agent's end is the job's. `false` when the end of the job is decided, and has to be reached here.
    pub fn release(&mut self) -> bool {
        let status = self.status();
        match self.phase {
            Phase::Pending | Phase::Running => {
                self.phase = Phase::Released(status);
                true
            }
            Phase::Released(_) => true,
            Phase::Ending(_) | Phase::Ended(_) => false,
        }
    }

    /// Whether it was released, and nobody has stopped it since.
    pub fn is_released(&self) -> bool {
        matches!(self.phase, Phase::Released(_))
    }

    /// Somebody, or a clock, wants the job to end.
    pub fn stop(&mut self, cause: Cause) -> Stop {
        match &self.phase {
            Phase::Pending => {
                let terminal = cause.terminal();
                self.phase = Phase::Ended(terminal.status);
                Stop::EndNow(terminal)
            }
            Phase::Running | Phase::Released(_) => {
                self.phase = Phase::Ending(cause);
                Stop::StopAgent
            }
            Phase::Ending(decided) if decided.same_kind(&cause) => Stop::Already,
            Phase::Ending(decided) => Stop::TooLate(decided.status()),
            Phase::Ended(status) => Stop::TooLate(*status),
        }
    }

    /// The agent has stopped: by itself, or because it was made to. `None` when the job has ended already.
    pub fn finish(&mut self, outcome: Outcome) -> Option<Terminal> {
        let terminal = match &self.phase {
            Phase::Pending | Phase::Running => Terminal::of(outcome),
            Phase::Ending(cause) => cause.terminal(),
            Phase::Released(_) | Phase::Ended(_) => return None,
        };
        self.phase = Phase::Ended(terminal.status);
        Some(terminal)
    }
}

/// Names the delegation that made a child, in the parent's `delegate` event and in the child's `job.accepted` [ARCP 8-1].
/// It is the child's own name under another prefix, so it is the same whenever it is asked for.
pub fn delegate_id(child: &JobId) -> CallId {
    let name = child.as_str();
    match name.strip_prefix(JobId::PREFIX) {
        Some(minted) if !minted.is_empty() => CallId::minted(minted),
        // An id that is not of our making, which is as long as an id may be or shorter.
        _ => CallId::parse(name).unwrap_or_else(|_| CallId::minted("delegate")),
    }
}

impl Default for JobMachine {
    fn default() -> Self {
        Self::new()
    }
}

impl Failure {
    /// A failure without details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: None,
        }
    }

    fn with_reason(mut self, reason: &str) -> Self {
        self.details = Some(serde_json::json!({ "reason": reason }).into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl Terminal {
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Failed(failure) => Self {
                status: status_of(&failure.code),
                body: Body::Failure(failure),
            },
            success => Self {
                status: JobStatus::Success,
                body: Body::Success(success),
            },
        }
    }

    /// A failure that ends a job in this status.
    const fn with_status(status: JobStatus, failure: Failure) -> Self {
        Self {
            status,
            body: Body::Failure(failure),
        }
    }

    /// The end of a job that failed so.
    pub fn failed(failure: Failure) -> Self {
        Self::of(Outcome::Failed(failure))
    }

    /// The type of the message.
    pub const fn message_type(&self) -> MessageType {
        match self.body {
            Body::Success(_) => MessageType::JOB_RESULT,
            Body::Failure(_) => MessageType::JOB_ERROR,
        }
    }

    /// Whether the message is a `job.result`.
    pub const fn is_result(&self) -> bool {
        matches!(self.body, Body::Success(_))
    }

    /// The message's payload [ARCP 7.3-2].
    ///
    /// # Errors
    /// When the payload has no JSON form; ours always have one.
    pub fn payload(&self, completed_at: Timestamp) -> Result<RawJson, serde_json::Error> {
        match &self.body {
            Body::Success(outcome) => RawJson::of(&result_payload(outcome, completed_at)),
            Body::Failure(failure) => RawJson::of(&payload::JobError {
                final_status: self.status,
                code: failure.code.clone(),
                message: failure.message.clone(),
                retryable: failure.code.is_retryable(),
                details: failure.details.clone(),
                request_id: None,
                completed_at: Some(completed_at),
            }),
        }
    }
}

/// An agent that gives up with a code of a cause ends as if by that cause: it may have noticed first.
fn status_of(code: &ErrorCode) -> JobStatus {
    if *code == ErrorCode::CANCELLED {
        JobStatus::Cancelled
    } else if *code == ErrorCode::TIMEOUT {
        JobStatus::TimedOut
    } else {
        JobStatus::Error
    }
}

fn result_payload(outcome: &Outcome, completed_at: Timestamp) -> payload::JobResult {
    let mut result = payload::JobResult {
        final_status: JobStatus::Success,
        result: None,
        result_encoding: None,
        result_id: None,
        result_size: None,
        summary: None,
        completed_at: Some(completed_at),
    };
    match outcome {
        Outcome::Returned(value) => result.result = Some(value.clone()),
        Outcome::Streamed {
            result_id,
            size,
            summary,
        } => {
            result.result_id = Some(result_id.clone());
            result.result_size = Some(*size);
            result.summary.clone_from(summary);
        }
        Outcome::Failed(_) => {}
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cancelled() -> Cause {
        Cause::Cancelled { reason: None }
    }

    fn returned() -> Outcome {
        Outcome::Returned(RawJson::NULL)
    }

    /// [ARCP 7.3-1] pending → running → success, and the agent's failures end in error.
    #[test]
    fn the_plain_ways() {
        let mut job = JobMachine::new();
        assert_eq!(job.status(), JobStatus::Pending);
        assert!(job.start());
        assert_eq!(job.status(), JobStatus::Running);
        assert_eq!(
            job.finish(returned()).map(|end| end.status),
            Some(JobStatus::Success)
        );
        assert_eq!(job.finish(returned()), None);

        let mut job = JobMachine::new();
        job.start();
        let failure = Failure::new(ErrorCode::BUDGET_EXHAUSTED, "spent");
        assert_eq!(
            job.finish(Outcome::Failed(failure)).map(|end| end.status),
            Some(JobStatus::Error)
        );
    }

    /// [ARCP 7.4-1] a cancelled job ends cancelled even if its agent finishes normally meanwhile.
    #[test]
    fn a_cancel_outlives_the_result() {
        let mut job = JobMachine::new();
        job.start();
        assert_eq!(job.stop(cancelled()), Stop::StopAgent);
        assert_eq!(job.status(), JobStatus::Running);
        let end = job.finish(returned()).unwrap();
        assert_eq!((end.status, end.is_result()), (JobStatus::Cancelled, false));
    }

    /// [ARCP 7.4-3] cancelling twice is one end; cancelling what has ended is too late.
    #[test]
    fn a_second_cancel() {
        let mut job = JobMachine::new();
        job.start();
        job.stop(cancelled());
        assert_eq!(job.stop(cancelled()), Stop::Already);
        job.finish(returned());
        assert_eq!(job.stop(cancelled()), Stop::TooLate(JobStatus::Cancelled));
    }

    /// [ARCP 7.4-4] a pending job ends at once and never starts.
    #[test]
    fn a_pending_job_is_cancelled_without_an_agent() {
        let mut job = JobMachine::new();
        assert!(
            matches!(job.stop(cancelled()), Stop::EndNow(end) if end.status == JobStatus::Cancelled)
        );
        assert!(!job.start());
    }

    /// [ARCP 7.3-3] what each cause ends in.
    #[test]
    fn causes_and_their_ends() {
        let table = [
            (cancelled(), JobStatus::Cancelled, "CANCELLED", false),
            (Cause::TimedOut, JobStatus::TimedOut, "TIMEOUT", true),
            (
                Cause::LeaseExpired,
                JobStatus::Error,
                "LEASE_EXPIRED",
                false,
            ),
            (Cause::Shutdown, JobStatus::Error, "INTERNAL_ERROR", true),
            (Cause::Restarted, JobStatus::Error, "INTERNAL_ERROR", true),
            (
                Cause::BudgetSpent,
                JobStatus::Error,
                "BUDGET_EXHAUSTED",
                false,
            ),
        ];
        for (cause, status, code, retryable) in table {
            let mut job = JobMachine::new();
            job.start();
            job.stop(cause);
            let end = job.finish(returned()).unwrap();
            let error: payload::JobError = end
                .payload(Timestamp::from_unix_micros(0))
                .unwrap()
                .read()
                .unwrap();
            assert_eq!(
                (error.final_status, error.code.as_str(), error.retryable),
                (status, code, retryable)
            );
            assert!(!error.message.is_empty());
        }
    }

    /// [ARCP 7.3-4] a released job is left as it stands: its agent's end is not its own, and nothing more is logged. A decided
    /// end is not left to anybody.
    #[test]
    fn a_released_job_is_left_as_it_stands() {
        let mut job = JobMachine::new();
        assert!(job.release());
        assert_eq!(job.status(), JobStatus::Pending);
        let mut job = JobMachine::new();
        job.start();
        assert!(job.release() && !job.is_open());
        assert_eq!(
            (job.status(), job.finish(returned())),
            (JobStatus::Running, None)
        );
        assert_eq!(job.stop(cancelled()), Stop::StopAgent);
        assert!(!job.is_released());
        assert!(!job.release() && job.finish(returned()).is_some());
        assert!(!job.release());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Start,
        Stop(Cause),
        Finish(bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Start),
            prop_oneof![
                Just(cancelled()),
                Just(Cause::TimedOut),
                Just(Cause::LeaseExpired),
                Just(Cause::Shutdown)
            ]
            .prop_map(Step::Stop),
            any::<bool>().prop_map(Step::Finish),
        ]
    }

    proptest! {
        /// [ARCP 7.3-5, 7.3-2] whatever races, there is at most one terminal, it is that of the first end recorded, and
        /// nothing changes the status afterwards.
        #[test]
        fn exactly_one_end(steps in prop::collection::vec(step(), 0..12)) {
            let mut job = JobMachine::new();
            let mut first: Option<JobStatus> = None;
            let mut ends = Vec::new();
            for step in steps {
                let before = job.status();
                match step {
                    Step::Start => { job.start(); }
                    Step::Stop(cause) => {
                        if !before.is_terminal() { first.get_or_insert(cause.status()); }
                        if let Stop::EndNow(end) = job.stop(cause) { ends.push(end.status); }
                    }
                    Step::Finish(ok) => {
                        let outcome = if ok { returned() } else { Outcome::Failed(Failure::new(ErrorCode::INTERNAL_ERROR, "x")) };
                        let status = if ok { JobStatus::Success } else { JobStatus::Error };
                        if !before.is_terminal() { first.get_or_insert(status); }
                        if let Some(end) = job.finish(outcome) { ends.push(end.status); }
                    }
                }
                prop_assert!(!before.is_terminal() || job.status() == before);
                prop_assert!(ends.len() <= 1);
            }
            prop_assert_eq!(ends.first().copied(), first.filter(|_| job.status().is_terminal()));
        }
    }

    /// [ARCP 7.3-1, 7.3-5] the job does what is drawn above it: every event in every phase.
    #[test]
    fn the_job_is_as_drawn() {
        crate::drawing::walk(include_str!("job.rs"), |phase, event| {
            let mut job = JobMachine::new();
            let way: &[&str] = match phase {
                "Pending" => &[],
                "Running" => &["start"],
                "Ending" => &["start", "stop"],
                "Ended" => &["start", "finish"],
                "Released" => &["start", "release"],
                other => panic!("{other} is no phase"),
            };
            for event in way.iter().chain([&event]) {
                match *event {
                    "start" => {
                        job.start();
                    }
                    "stop" => drop(job.stop(Cause::TimedOut)),
                    "finish" => drop(job.finish(Outcome::Returned(RawJson::NULL))),
                    "release" => {
                        job.release();
                    }
                    other => panic!("{other} is no event"),
                }
            }
            let reached = match job.phase {
                Phase::Pending => "Pending",
                Phase::Running => "Running",
                Phase::Ending(_) => "Ending",
                Phase::Released(_) => "Released",
                Phase::Ended(_) => "Ended",
            };
            reached.to_owned()
        });
    }

    /// [ARCP 8-1] the name of a delegation is the child's own under another prefix, whatever the child is called.
    #[test]
    fn a_delegation_is_named_after_its_child() {
        let id = |text: &str| delegate_id(&JobId::parse(text).unwrap());
        assert_eq!(id("job_01J0").as_str(), "call_01J0");
        assert_eq!(id("job_").as_str(), "job_");
        let foreign = "j".repeat(256);
        assert_eq!(id(&foreign).as_str(), foreign);
    }
}
