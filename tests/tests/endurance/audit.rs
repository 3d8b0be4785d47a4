//! What a session that was not there finds afterwards.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Value, json};
use towline_tests::{peer::Peer, server::Server};

/// Every job of the principal, from the listing.
pub(crate) async fn listed(server: &Server) -> Vec<Value> {
    let mut peer = Peer::open(server).await;
    let (mut jobs, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let page = peer
            .ask("session.list_jobs", json!({"limit": 200, "cursor": cursor}))
            .await;
        jobs.extend(
            page["payload"]["jobs"]
                .as_array()
                .expect("a page")
                .iter()
                .cloned(),
        );
        cursor = page["payload"]["next_cursor"].clone();
        if cursor.is_null() {
            return jobs;
        }
    }
}

/// A job's whole history as a stranger reads it: its events and its terminal.
///
/// # Panics
/// When there is a hole in it, or no end.
pub(crate) async fn history(auditor: &mut Peer, job: &str) -> (Vec<Value>, Value) {
    let subscribed = auditor
        .ask("job.subscribe", json!({"job_id": job, "history": true}))
        .await;
    assert_eq!(subscribed["type"], "job.subscribed", "{job}: {subscribed}");
    let terminal = auditor.end_of(job).await;
    auditor.assert_whole(job);
    let events = auditor.events(job).to_vec();
    let first = events.first().unwrap_or(&terminal);
    assert_eq!(first["job_seq"], 1, "{job} from its start");
    // There may be a hundred thousand jobs.
    auditor.discard_waiting();
    auditor.ledger_mut().forget(job);
    (events, terminal)
}

/// What was said, short enough to remember for very many events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest(u64);

/// The job's own number and what was said: all that observers have in common.
pub(crate) fn said(envelope: &Value) -> (u64, Digest) {
    let mut hasher = DefaultHasher::new();
    envelope["payload"].to_string().hash(&mut hasher);
    (
        envelope["job_seq"].as_u64().unwrap_or_default(),
        Digest(hasher.finish()),
    )
}
