//! towline: ARCP v1.1 for Rust. Run long-lived AI agent jobs that survive dropped connections and crashes, stay inside
//! the authority and budget they were given, and can be watched live.
//!
//! This crate is the one to depend on; it re-exports what the others offer.
//!
//! | feature | default | what |
//! | --- | --- | --- |
//! | `client` | yes | connect, submit, watch, cancel, resume |
//! | `runtime` | yes | host agents and run jobs |
//! | `websocket` | yes | the WebSocket transport; with `tls` also `wss` |
//! | `stdio` | yes | lines over this process's stdin and stdout, or any two streams; with `child` those of a child process |
//! | `sqlite` | yes | the store that survives the process |
//! | `postgres` | no | the store in PostgreSQL, which outlives the machine |
//! | `files`, `http` | yes | files and the web for agents, through their lease |
//! | `jwt` | yes | JSON Web Tokens as bearer tokens |
//! | `credentials` | yes | the ready-made provisioner of model keys |
//! | `axum` | no | mount a runtime on an axum router; with `axum-ws` also on axum's own WebSockets, with `axum-http` also as jobs over plain HTTP |
//! | `dashboard` | no | the operator's page, embedded |
//! | `mcp` | no | agents as tools of the Model Context Protocol; with `axum` also over HTTP |
//! | `schemars` | no | the input an agent takes, told by its type |
//! | `otel` | no | tracing around any transport |
//! | `agents` | no | agents that are programs and processes |
//! | `full` | no | all of them |
//!
//! Features only add; none changes what another does. A program that needs little names what it needs, for a much smaller
//! tree of dependencies:
//!
//! ```toml
//! # One agent, spoken to over stdio.
//! towline = { version = "0.1", default-features = false, features = ["runtime", "stdio"] }
//! ```
//!
//! ```
//! # #[cfg(not(all(feature = "client", feature = "runtime")))]
//! # fn main() {}
//! # #[cfg(all(feature = "client", feature = "runtime"))]
//! use towline::{
//!     client::{Client, ClientOptions},
//!     runtime::{JobContext, Runtime, auth::StaticTokens},
//!     transport::MemoryTransport,
//! };
//!
//! # #[cfg(all(feature = "client", feature = "runtime"))]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::builder()
//!     .authenticator(StaticTokens::new([("me", "a-token")])?)
//!     .agent("double", |_ctx: JobContext, n: u64| async move { Ok(2 * n) })
//!     .build()
//!     .await?;
//! let (near, far) = MemoryTransport::pair();
//! runtime.accept(far);
//!
//! let client = Client::connect(near, ClientOptions::bearer("a-token")).await?;
//! let mut job = client.submit("double").input(21).send().await?;
//! assert_eq!(job.result_json::<u64>().await?, 42);
//! # Ok(())
//! # }
//! ```

/// What is on the wire: envelopes, messages, events, ids, amounts.
pub use towline_wire as wire;

/// What a lease allows, decided as the runtime decides it: to look at a lease before it is asked for, or at an operation
/// before it is tried.
pub mod lease {
    pub use towline_proto::lease::{
        Amounts, BudgetError, Decision, DenyReason, Explanation, Kind, LeaseError, LeaseSet,
        Operation, Pattern, PatternError, PatternVerdict, ValueError, Violation, ViolationReason,
    };
}

/// Sizes, counts and spans that the protocol fixes, to check a value before it is sent.
pub use towline_proto::limits;

/// Transports: WebSocket, stdio, memory, and the traits for your own.
pub use towline_transport as transport;

/// Clock, ids and randomness, and their stand-ins for tests.
pub use towline_env as env;

/// Connecting, submitting, watching, resuming.
#[cfg(feature = "client")]
pub use towline_client as client;

/// Hosting agents and running jobs.
#[cfg(feature = "runtime")]
pub use towline_runtime as runtime;

/// Where a runtime keeps what was acknowledged.
#[cfg(feature = "runtime")]
pub use towline_store as store;

/// The store in PostgreSQL.
#[cfg(feature = "postgres")]
pub use towline_postgres as postgres;

/// Mounting a runtime on an axum router.
#[cfg(feature = "axum")]
pub use towline_axum as axum;

/// Agents that are programs and processes.
#[cfg(feature = "agents")]
pub use towline_agents as agents;

/// Agents as tools of the Model Context Protocol.
#[cfg(feature = "mcp")]
pub use towline_mcp as mcp;

/// Tracing around any transport.
#[cfg(feature = "otel")]
pub use towline_otel as otel;

#[cfg(feature = "client")]
pub use towline_client::{Client, ClientError, ClientOptions, JobHandle};
#[cfg(feature = "runtime")]
pub use towline_runtime::{AgentError, JobContext, Runtime, RuntimeOptions};
pub use towline_transport::MemoryTransport;
#[cfg(feature = "stdio")]
pub use towline_transport::StdioTransport;
#[cfg(feature = "websocket")]
pub use towline_transport::WebSocketTransport;
pub use towline_wire::{
    Amount, ErrorCode, Event, EventKind, JobId, JobStatus, Lease, LeaseConstraints, SessionId,
    Timestamp,
};

/// The example of this crate's own README, compiled.
#[cfg(all(doctest, feature = "full"))]
#[doc = include_str!("../README.md")]
struct CrateReadme;

/// The README's examples, compiled.
#[cfg(all(doctest, feature = "full"))]
#[doc = include_str!("../../../README.md")]
struct Readme;
