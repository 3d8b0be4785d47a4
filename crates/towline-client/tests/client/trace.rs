//! The trace a submit is part of.

use tokio::join;
use towline_wire::{SpanId, TraceId};

use crate::peer::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER: &str = "00f067aa0ba902b7a3ce929d0e0e4736";

/// [ARCP 11-1] A submit is in the trace it names; else in the one its caller is in; else in one of its own.
#[tokio::test(start_paused = true)]
async fn where_a_submit_belongs() {
    let source = || Some((TraceId::parse(OTHER)?, SpanId::from_bytes([7; 8])?));
    let (client, mut peer) = connected_with(options().trace_source(source), &ALL).await;
    let named = client.submit("echo").trace(TraceId::parse(TRACE).unwrap());
    let current = client.submit("echo");
    for (submit, trace) in [(named, TRACE), (current, OTHER)] {
        let (job, submitted) = join!(submit.send(), peer.accept("job_1"));
        assert_eq!(submitted.0["trace_id"], trace);
        job.unwrap();
    }
    let (client, mut peer) = connected_with(options().trace_source(|| None), &ALL).await;
    let (job, submitted) = join!(client.submit("echo").send(), peer.accept("job_1"));
    let minted = submitted.0["trace_id"].as_str().unwrap();
    assert!(
        TraceId::parse(minted).is_some() && minted != OTHER,
        "{minted}"
    );
    job.unwrap();
}
