//! Children made of shell scripts. Unix only, as shells and signals are.
#![cfg(unix)]

use std::{
    os::unix::process::ExitStatusExt as _,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::mpsc;
use towline_transport::{
    ChildOptions, ChildProcess, CloseFrame, Closed, Inbound, StdioTransport, Transport as _,
    TransportError,
};
use towline_wire::{Envelope, MessageType};

use crate::raw::End;

/// Long enough to never be what a test waits for.
const GRACE: Duration = Duration::from_secs(600);

/// Set in a process that is to echo.
const ECHO: &str = "TOWLINE_TRANSPORT_TEST_ECHO";

fn shell(script: &str) -> ChildOptions {
    ChildOptions::new("sh").args(["-c", script])
}

/// Starts a script that says on stderr what it wants its test to know.
fn started(
    script: &str,
) -> (
    ChildProcess,
    StdioTransport,
    mpsc::UnboundedReceiver<String>,
) {
    let (said, lines) = mpsc::unbounded_channel();
    let options =
        shell(script).on_stderr(move |line| said.send(line.to_owned()).unwrap_or_default());
    let (process, transport) = ChildProcess::spawn(&options).unwrap();
    (process, transport, lines)
}

fn ping() -> Envelope {
    Envelope::new(MessageType::SESSION_PING)
}

/// Whether a process runs; one that is dead and only waits for its parent does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn is_zombie(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists() && !runs(pid)
}

/// Waits for what the kernel and tokio do in their own time.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// [ARCP 4-2] A child's stdin and stdout carry one envelope a line; what else it prints is no envelope and harms nothing.
#[tokio::test]
async fn a_child_is_a_peer() {
    let (mut process, transport, mut lines) =
        started("echo ready >&2; echo a stray print; cat; echo bye >&2");
    assert!(transport.info().confidential);
    let pid = process.id().unwrap();
    let mut end = End::of(transport);
    assert_eq!(lines.recv().await.as_deref(), Some("ready"));
    assert!(matches!(
        end.source.receive().await,
        Some(Inbound::Malformed(_))
    ));
    end.sink.send(ping()).await.unwrap();
    assert_eq!(end.source.receive().await, Some(Inbound::Envelope(ping())));
    assert_eq!(process.try_status().unwrap(), None);

    end.sink.close(&CloseFrame::normal()).await.unwrap();
    let status = process.wait().await.unwrap();
    assert!(status.success());
    assert_eq!(
        lines.try_recv().as_deref(),
        Ok("bye"),
        "the last lines come before the status"
    );
    assert_eq!(process.try_status().unwrap(), Some(status));
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "it was not reaped"
    );
}

/// The other end of `this_process_is_a_peer`: this test binary, run again.
#[test]
fn echo_over_this_process() {
    if std::env::var_os(ECHO).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let transport = StdioTransport::from_process();
        assert!(transport.info().confidential);
        let mut end = End::of(transport);
        loop {
            match end.source.receive().await {
                Some(Inbound::Envelope(envelope)) => end.sink.send(envelope).await.unwrap(),
                Some(Inbound::Closed(Closed::ByPeer(None))) => break,
                other => panic!("{other:?}"),
            }
        }
        end.sink.close(&CloseFrame::normal()).await.unwrap();
    });
    std::process::exit(0);
}

/// [ARCP 4-2] Both ends of a real pipe: this process's stdio, and a child's.
#[tokio::test]
async fn this_process_is_a_peer() {
    let options = ChildOptions::new(std::env::current_exe().unwrap())
        .args(["--exact", "child::echo_over_this_process", "--nocapture"])
        .env(ECHO, "1");
    let (mut process, transport) = ChildProcess::spawn(&options).unwrap();
    let mut end = End::of(transport);
    let big = format!(
        r#"{{"type":"x","payload":{{"x":"{}"}}}}"#,
        "x".repeat(1 << 20)
    );
    for envelope in [ping(), Envelope::decode_text(big).unwrap(), ping()] {
        end.sink.send(envelope.clone()).await.unwrap();
        let mut received = end.source.receive().await;
        // The test harness of the other process prints its own lines first.
        while matches!(received, Some(Inbound::Malformed(_))) {
            received = end.source.receive().await;
        }
        assert_eq!(received, Some(Inbound::Envelope(envelope)));
    }
    assert!(process.terminate(GRACE).await.unwrap().success());
}

#[tokio::test]
async fn an_exit_is_seen() {
    let (mut process, transport, _lines) = started("exit 7");
    let mut end = End::of(transport);
    assert_eq!(
        end.source.receive().await,
        Some(Inbound::Closed(Closed::ByPeer(None)))
    );
    while process.try_status().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(process.wait().await.unwrap().code(), Some(7));
    assert_eq!(process.wait().await.unwrap().code(), Some(7));
}

/// A child that ends with its input needs no signal.
#[tokio::test]
async fn terminating_closes_stdin_first() {
    let (mut process, transport, _lines) = started("cat; exit 3");
    let mut end = End::of(transport);
    assert_eq!(process.terminate(GRACE).await.unwrap().code(), Some(3));
    assert!(matches!(
        end.sink.send(ping()).await,
        Err(TransportError::Io(_))
    ));
}

/// A child that does not read is asked.
#[tokio::test]
async fn terminating_asks_next() {
    let (mut process, _transport, mut lines) =
        started("trap 'exit 4' TERM; echo ready >&2; while :; do sleep 0.01; done");
    lines.recv().await.unwrap();
    assert_eq!(
        process
            .terminate(Duration::from_millis(50) * 2)
            .await
            .map(|status| status.code())
            .unwrap(),
        Some(4)
    );
}

/// A child that will not hear is killed, and whatever it started with it.
#[tokio::test]
async fn terminating_kills_the_group_last() {
    let script = "trap '' TERM; sleep 1000 & echo $! >&2; while :; do sleep 0.01; done";
    let (mut process, _transport, mut lines) = started(script);
    let pid = process.id().unwrap();
    let grandchild: u32 = lines.recv().await.unwrap().parse().unwrap();
    assert!(runs(pid) && runs(grandchild));
    let status = process.terminate(Duration::from_millis(50)).await.unwrap();
    assert_eq!(status.signal(), Some(9));
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "it was not reaped"
    );
    until(|| !runs(grandchild)).await;
}

/// What a child leaves behind when it exits ends too.
#[tokio::test]
async fn nothing_of_the_group_outlives_its_leader() {
    let (mut process, _transport, mut lines) = started("sleep 1000 >/dev/null 2>&1 & echo $! >&2");
    let left: u32 = lines.recv().await.unwrap().parse().unwrap();
    assert!(process.wait().await.unwrap().success());
    until(|| !runs(left)).await;
}

/// Dropping kills the group, and tokio reaps the child.
#[tokio::test]
async fn dropping_kills() {
    let (process, _transport, mut lines) = started("sleep 1000 & echo $! >&2; wait");
    let pid = process.id().unwrap();
    let grandchild: u32 = lines.recv().await.unwrap().parse().unwrap();
    drop(process);
    until(|| !runs(pid) && !runs(grandchild)).await;
    until(|| !is_zombie(pid)).await;
}

#[tokio::test]
async fn what_cannot_be_started() {
    let cases = [
        (
            ChildOptions::new("no-such-program-anywhere"),
            "no such program",
        ),
        (
            ChildOptions::new("sh").current_dir("/no/such/dir"),
            "working directory `/no/such/dir`",
        ),
        (ChildOptions::new("/etc/passwd"), "may not be executed"),
    ];
    for (options, hint) in cases {
        let error = ChildProcess::spawn(&options).unwrap_err();
        assert!(matches!(error, TransportError::Setup { .. }), "{error:?}");
        assert!(error.to_string().contains(hint), "{error}");
    }
}

#[tokio::test]
async fn the_environment() {
    let seen = Arc::new(Mutex::new(String::new()));
    let on_line = {
        let seen = seen.clone();
        move |line: &str| seen.lock().unwrap().push_str(line)
    };
    let options = ChildOptions::new("/bin/sh")
        .args(["-c", "echo \"$TOWLINE_TEST,$HOME,$(pwd)\" >&2"])
        .clear_env()
        .env("TOWLINE_TEST", "s3cret")
        .current_dir("/")
        .on_stderr(on_line);
    assert!(!format!("{options:?}").contains("s3cret"));
    let (mut process, _transport) = ChildProcess::spawn(&options).unwrap();
    process.wait().await.unwrap();
    assert_eq!(*seen.lock().unwrap(), "s3cret,,/");
}
