//! One trace from the program that submits to the process that works.

use std::{collections::BTreeSet, sync::Arc};

use nix::sys::signal::Signal;
use serde_json::json;
use towline_tests::{
    program::{Place, Ran},
    server::Serve,
};

use crate::collector::{Collector, Exported};

/// The variables that any program with OpenTelemetry reads.
fn variables(collector: &Collector, service: &str) -> [(&'static str, String); 3] {
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.clone()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
        ("OTEL_SERVICE_NAME", service.to_owned()),
    ]
}

#[track_caller]
fn only<'s>(spans: &'s [Exported], service: &str, name: &str) -> &'s Exported {
    let mut found = spans
        .iter()
        .filter(|span| span.service == service && span.name == name);
    let span = found
        .next()
        .unwrap_or_else(|| panic!("no `{name}` of {service} in {spans:#?}"));
    assert!(
        found.next().is_none(),
        "several `{name}` of {service} in {spans:#?}"
    );
    span
}

/// [ARCP 11-2, 11-3] client, runtime, delegated child and process agent are one connected trace at the collector.
#[tokio::test]
async fn one_trace_through_everything() {
    let collector = Collector::start().await;
    let place = Arc::new(Place::new());
    place.write("towline.toml", "[agents.script]\ncommand = [\"sh\", \"-c\", \"printf %s $TRACEPARENT\"]\nprotocol = \"exec\"\n");
    let serve = Serve::demo()
        .at(&place)
        .with(&["--store", "memory", "--config", "towline.toml"]);
    let mut server = serve.envs(variables(&collector, "server")).start().await;
    let input = json!({"agent": "script"}).to_string();
    let limits = [
        "--lease",
        "agent.delegate=script",
        "--budget",
        "USD:1.50",
        "--expires-in",
        "10m",
    ];
    let flags = server.flags("alice");
    let args = ["run", "delegate", "-o", "json", "--input", &input];
    let args = args
        .iter()
        .chain(&limits)
        .copied()
        .chain(flags.iter().map(String::as_str));
    let here = Place::new();
    let mut command = here.command(args);
    command.envs(variables(&collector, "client"));
    let ran = Ran::of(command).await.status(0).json();
    server.signal(Signal::SIGTERM);
    server.ended().await;

    let all = collector.spans();
    let trace = ran["trace_id"].as_str().expect("the job has a trace");
    let spans: Vec<Exported> = all
        .iter()
        .filter(|span| span.trace == trace)
        .cloned()
        .collect();
    // Connected: one root, and every other span's parent was exported too.
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    let strangers: Vec<&Exported> = spans
        .iter()
        .filter(|span| !ids.contains(span.parent.as_str()))
        .collect();
    let [root] = strangers.as_slice() else {
        panic!("{strangers:#?}")
    };
    assert_eq!(
        (
            root.service.as_str(),
            root.name.as_str(),
            root.parent.as_str()
        ),
        ("client", "towline run", "")
    );
    // The way down, span by span.
    let sent = only(&spans, "client", "arcp.send job.submit");
    let received = only(&spans, "server", "arcp.recv job.submit");
    let parent = only(&spans, "server", "arcp.job delegate");
    let operation = only(&spans, "server", "arcp.operation agent.delegate");
    let child = only(&spans, "server", "arcp.job script");
    let way = [*root, sent, received, parent, operation, child];
    for pair in way.windows(2) {
        assert_eq!(
            pair[1].parent, pair[0].id,
            "`{}` is below `{}`",
            pair[1].name, pair[0].name
        );
    }
    let told = ran["result"]["result"]
        .as_str()
        .expect("the script prints its trace");
    assert_eq!(told, format!("00-{trace}-{}-01", child.id));
    for job in [parent, operation, child] {
        assert!(
            job.attributes
                .get("arcp.lease.expires_at")
                .is_some_and(|at| at.ends_with('Z')),
            "{job:#?}"
        );
        assert!(
            job.attributes.contains_key("arcp.budget.remaining"),
            "{job:#?}"
        );
    }
    assert_eq!(
        parent.attributes.get("arcp.status").map(String::as_str),
        Some("success")
    );
    assert_eq!(
        child.attributes.get("arcp.parent_job_id"),
        parent.attributes.get("arcp.job_id")
    );
    // What belongs to a connection rather than to a job is elsewhere.
    let session = only(&all, "server", "arcp.session");
    assert_ne!(session.trace, trace);
}

/// Nothing is sent when OpenTelemetry is switched off.
#[tokio::test]
async fn switched_off() {
    let collector = Collector::start().await;
    for (name, value) in [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ] {
        let place = Place::new();
        let mut command = place.command(["run", "echo", "-q"]);
        command
            .envs(variables(&collector, "client"))
            .env(name, value);
        Ran::of(command).await.status(0);
    }
    assert!(collector.spans().is_empty());
}
