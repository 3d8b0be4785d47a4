//! The Model Context Protocol, on both sides of a job.
//!
//! ```text
//!   the agent's process            this process                           a server of tools
//!   ┌──────────────────┐   HTTP    ┌─────────────────────────────┐  stdio  ┌──────────────────────┐
//!   │ its model calls  ├──────────▶│ `job`: delegate, ask_human, ├────────▶│ process of this job, │
//!   │ tools            │ key of    │ checkpoint, progress, spend │ or HTTP │ confined to its lease│
//!   └──────────────────┘ the job   │ `client`: mcp:NAME/TOOL     │         └──────────────────────┘
//!                                  └─────────────────────────────┘
//! ```
//!
//! Nothing is decided here: what is called is an event of the job, or an operation that its lease is asked about.

mod calls;
mod client;
mod http;
mod job;
mod lines;
mod names;
mod reports;
mod tools;

pub use client::{McpTools, McpToolsError};
pub(crate) use http::{JobServer, Told};
