//! The Python client and `towline serve --demo`.

use towline_tests::server::{Serve, token_of};

use crate::python::python;

/// Runs one scenario of `client.py` against a server of its own.
async fn scenario(name: &str, serve: Serve) {
    let Some(python) = python() else { return };
    let server = serve.start().await;
    let mut script = python.script("client.py");
    script.args([name, &server.url, &token_of("alice")]);
    python.holds(script).await;
}

fn demo() -> Serve {
    Serve::demo().with(&["--store", "memory"])
}

/// [ARCP 6.2-1, 6.2-2] welcome, features and agents as this client reads them.
#[tokio::test]
async fn hello() {
    scenario("hello", demo()).await;
}

/// [ARCP 6.1-1] a refused token, on an envelope with a session id.
#[tokio::test]
async fn unauthenticated() {
    scenario("unauthenticated", demo()).await;
}

/// [ARCP 7.1-2, 7.3-1, 7.3-2, 8-1, 8-3] each kind of event, numbered without a gap, in the job's trace.
#[tokio::test]
async fn every_kind() {
    scenario("every_kind", demo()).await;
}

/// [ARCP 8.4-1, 8.4-3] text and bytes, several chunks, the size that was announced.
#[tokio::test]
async fn streamed_results() {
    scenario("streamed_results", demo()).await;
}

/// [ARCP 7.4-1] the end as cancelled, in the form this client reads.
#[tokio::test]
async fn cancel() {
    scenario("cancel", demo()).await;
}

/// [ARCP 12-2] a refused cancel harms no other job, although this client fails them all on any error.
#[tokio::test]
async fn cancel_too_late_harms_nobody() {
    scenario("cancel_too_late_harms_nobody", demo()).await;
}

/// [ARCP 7.3-3] the end as timed out, in the form this client reads.
#[tokio::test]
async fn timeout() {
    scenario("timeout", demo()).await;
}

/// [ARCP 6.6-1, 6.6-2] filters, pages, entries.
#[tokio::test]
async fn listing() {
    scenario("listing", demo()).await;
}

/// [ARCP 7.6-1, 7.6-4, 8-3] history, then live events, each once; a finished job.
#[tokio::test]
async fn subscribe_with_history() {
    scenario("subscribe_with_history", demo()).await;
}

/// [ARCP 7.6-6] nothing comes after an unsubscribe.
#[tokio::test]
async fn unsubscribe() {
    scenario("unsubscribe", demo()).await;
}

/// [ARCP 6.4-1, 6.4-2, 6.5-1] this client answers pings and never sends one; its acknowledgements do no harm.
#[tokio::test]
async fn acknowledgement_and_ping() {
    scenario(
        "acknowledgement_and_ping",
        demo().with(&["--heartbeat", "1"]),
    )
    .await;
}

/// [ARCP 9.6-2, 9.6-3, 9.6-4] budgets as this client reads them, counted exactly, exhausted.
#[tokio::test]
async fn budget() {
    scenario("budget", demo()).await;
}

/// [ARCP 9.5-2] a job ends with its lease.
#[tokio::test]
async fn lease_expires() {
    scenario("lease_expires", demo()).await;
}

/// [ARCP 7.5-2] default, named and unknown versions.
#[tokio::test]
async fn versions() {
    scenario("versions", demo()).await;
}

/// [ARCP 7.2-1, 7.2-2] the same job by its key: in the session, in another, while it runs; other parameters.
#[tokio::test]
async fn idempotency() {
    scenario("idempotency", demo()).await;
}

/// [ARCP 7.2-1] a job that failed is found by its key as it ended.
#[tokio::test]
async fn failed_job_found_by_key() {
    scenario("failed_job_found_by_key", demo()).await;
}

/// [ARCP 7.1-3, 12-1] refusals and failures arrive as the exceptions of their codes, and the session goes on.
#[tokio::test]
async fn errors() {
    scenario("errors", demo()).await;
}

/// A result above what this client reads at once fails alone.
#[tokio::test]
async fn too_big_for_this_client() {
    scenario("too_big_for_this_client", demo()).await;
}

/// [ARCP 10-1] twenty parents at once, none of which gets a child's acceptance for its own.
#[tokio::test]
async fn delegation() {
    scenario("delegation", demo()).await;
}

/// [ARCP 6.3-1, 6.3-3, 6.3-4] a socket is cut while a job runs; the resumed client sees every event once.
#[tokio::test]
async fn resume_running_job() {
    scenario("resume_running_job", demo()).await;
}

/// [ARCP 6.3-4, 7.4-2] a resumed session cancels what it submitted before.
#[tokio::test]
async fn resume_cancels() {
    scenario("resume_cancels", demo()).await;
}

/// [ARCP 6.7-1, 6.7-2] `session.bye`, and the session can be resumed after it.
#[tokio::test]
async fn close() {
    scenario("close", demo()).await;
}
