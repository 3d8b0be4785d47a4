//! An ARCP v1.1 client.
//!
//! [`Client::connect`] opens a session on any transport; [`Client::submit`] runs jobs, whose [`JobHandle`] gives their
//! events and their [`Outcome`]; [`Client::subscribe`] watches jobs of other sessions. With a
//! [connector](ClientOptions::connector) lost connections are made anew and the session is resumed, so that nothing is
//! lost or seen twice.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use towline_client::{Client, ClientOptions, Outcome};
//! use towline_transport::MemoryTransport;
//!
//! // Any transport will do; a connector is asked again after every loss.
//! let options = ClientOptions::bearer("secret").connector(|| async { Ok(MemoryTransport::pair().0) });
//! let client = Client::dial(options).await?;
//!
//! let mut job = client.submit("index").input(r#"{"root":"/src"}"#).idempotency_key("nightly-7").send().await?;
//! match job.outcome().await? {
//!     Outcome::Success(success) => println!("{}", success.result.to_text()?),
//!     Outcome::Failure(failure) => eprintln!("{failure}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Errors are [`ClientError`]: [`code`](ClientError::code) is the runtime's, [`origin`](ClientError::origin) says who is to
//! blame, [`is_retryable`](ClientError::is_retryable) whether to try again.

mod client;
mod connector;
mod driver;
mod error;
mod event;
mod feed;
mod job;
mod listing;
mod mailbox;
mod options;
mod outcome;
mod questions;
mod result;
mod resume;
mod shared;
mod submit;
mod subscription;
mod unsolicited;

pub use towline_proto::{
    Dialect,
    assembly::AssemblyError,
    client::{AckPolicy, Counters, HandshakeError, Loss, Refusal},
};

pub use self::{
    client::Client,
    connector::{Backoff, Connecting, Connector},
    error::{ClientError, Origin, SessionOver},
    event::JobEvent,
    job::JobHandle,
    listing::{JobPage, ListBuilder},
    options::ClientOptions,
    outcome::{JobFailure, JobOutput, Outcome, Success},
    questions::AnswerBuilder,
    result::ResultStream,
    resume::ResumeState,
    shared::{Connection, SessionInfo},
    submit::SubmitBuilder,
    subscription::{SubscribeBuilder, Subscription},
    unsolicited::UnsolicitedJobs,
};
