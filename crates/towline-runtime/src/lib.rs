//! An ARCP v1.1 runtime: hosts agents, takes connections, runs jobs.
//!
//! Build one with [`Runtime::builder`], hand it connections with [`Runtime::accept`], write agents against
//! [`JobContext`].
//!
//! Inside, everything goes one way: a request or an event is decided, the decision is committed to the store, and only
//! then does anything reach a peer or an agent. `hub` holds the sessions and jobs and the one task that commits;
//! `command` has one file for each thing a client may ask; `connection` reads and writes; `job` watches over agents;
//! `context` is what agents see.

mod agent;
mod agent_options;
pub mod audit;
pub mod auth;
mod caller;
mod command;
mod connection;
mod context;
mod courier;
pub mod credentials;
mod hub;
mod job;
mod life;
mod options;
pub mod policy;
pub mod roles;
mod runtime;
mod schedule;
mod scheduler;
mod session;
mod store_view;
mod trace;
#[cfg(feature = "web")]
mod web;
mod webhook;

pub use agent::{Agent, AgentError, AgentFuture, IntoAgent, IsAgent, agent_fn};
pub use agent_options::{AgentOptions, OnBudgetExhausted};
pub use caller::{
    CallTrace, Caller, EventReader, JobDocument, JobFailure, JobOutput, JobsPage, LogRecord,
    NotProven, ScheduleDocument, StreamedResult, check_bounds,
};
pub use connection::Connection;
pub use context::{
    Answer, AskError, ChildEvent, ChildHandle, ChildOutcome, Delegation, Denied, EventError,
    JobContext, JobKey, JobMessage, Level, Messages, ModelPermit, OpenTools, Permit, Progress,
    ResultWriter, Tool, ToolError, ToolInfo, ToolServer, UpstreamRefusal, with_meta,
};
#[cfg(feature = "files")]
pub use context::{FileEntry, FileError, FileInfo, FileKind, Files, SkipReason, Visit, Walk};
#[cfg(feature = "http")]
pub use context::{Http, HttpError, HttpOptions, HttpRequest, HttpResponse};
pub use hub::{LongRequest, RegisterError};
pub use options::RuntimeOptions;
pub use runtime::{BuildError, Runtime, RuntimeBuilder};
pub use schedule::Schedule;
pub use store_view::StoreView;
pub use towline_proto::{
    Dialect,
    admission::{AdmissionLimits, Pointer, QueueError, QueueRules, Rate},
    chunks::ChunkLimits,
    lease::Operation,
    questions::Question,
    schedule::{
        Cron, CronError, Missed, Overlap, Timetable, WordError, Zone, ZoneError,
        is_name as is_name_of_schedule,
    },
    webhook::{Allowed, Receiver},
};
pub use towline_store::{RecordKind, RetentionPolicy};
pub use trace::TraceLink;
#[cfg(feature = "web")]
pub use web::WebError;
#[cfg(feature = "webhooks")]
pub use webhook::{HttpWebhooks, SecretError, WebhookSecret};
pub use webhook::{WebhookDocument, WebhookFailure, WebhookMessage, WebhookSender};
