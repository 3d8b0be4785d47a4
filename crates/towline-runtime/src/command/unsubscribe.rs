//! `job.unsubscribe` (§7.6).

use std::sync::Arc;

use towline_wire::JobId;

use super::asker::Asker;
use crate::{
    hub::{Hub, StopWatching},
    session::Reply,
};

/// Silent and idempotent [ARCP 7.6-6].
pub(super) fn unsubscribe(hub: &Arc<Hub>, asker: &Asker, job: JobId) {
    hub.command(StopWatching::asked(&asker.session, job));
    asker.reply(Reply::silent());
}
