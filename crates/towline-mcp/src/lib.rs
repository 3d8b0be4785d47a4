//! The agents of an ARCP runtime as tools of the Model Context Protocol (§19).
//!
//! [`Server`] has one tool an agent, and six for jobs: `job_get`, `job_wait`, `job_events`, `job_cancel`, `job_answer`, `jobs`.
//! A call of an agent's tool submits a job and waits for its end, at most 50 seconds; a job that takes longer is handed over
//! by its name, and goes on. Nothing is decided here: a call becomes a command of a [`Desk`], which is a principal at a
//! runtime, and what the runtime says becomes a result.
//!
//! It speaks the revisions 2026-07-28, with tasks and with questions that the client's user answers, and those before it
//! from 2024-11-05 on.
//!
//! ```no_run
//! use towline_mcp::Server;
//! use towline_runtime::Caller;
//!
//! # async fn example(caller: Caller) -> std::io::Result<()> {
//! let server = Server::new(caller);
//! server.serve(tokio::io::stdin(), tokio::io::stdout()).await
//! # }
//! ```

mod args;
mod call;
mod caller;
mod desk;
mod elicit;
#[cfg(feature = "streamable-http")]
mod http;
mod lines;
mod names;
mod progress;
mod server;
mod shown;
mod task;
mod tools;
mod wait;

pub use desk::{Asked, Desk, Entry, JobLog, JobView, Output};
#[cfg(feature = "streamable-http")]
pub use http::HttpService;
pub use lines::{Malformed, readable};
pub use server::{Options, Server};

#[cfg(test)]
mod tests;
