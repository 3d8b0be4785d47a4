//! A session in memory: its stream, its replies, the connection it has. Data only; `hub` and `connection` act on it.

mod entry;
mod replies;

pub(crate) use entry::{Attachment, Closing, DetachReason, SessionEntry};
pub(crate) use replies::{Reply, SlotId};
