//! A session in memory: its stream, its replies, the connection it has. Data only; `hub` and `connection` act on it.

mod entry;

pub(crate) use entry::{Attachment, DetachReason, SessionEntry};
pub(crate) use towline_proto::server::{Farewell, Reply, Slot};
