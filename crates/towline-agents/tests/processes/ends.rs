//! The end of a process is the end of the process, and of everything it started.

use crate::support::{Stage, failure, is_gone, runs};

/// Starts something in a session of its own, twice removed, that holds the pipes, ignores polite signals, and says who it is.
const DAEMON: &str = "
    (setsid sh -c 'trap \"\" TERM HUP; echo $$ > daemon; while :; do sleep 1000; done' &)
    until [ -s daemon ]; do sleep 0.01; done
";

/// A child in the background holds standard output for ever; the program has ended.
#[tokio::test]
async fn a_background_child_is_not_waited_for() {
    let stage = Stage::shell("sleep 1000 & echo $! > child; echo hi").await;
    assert_eq!(stage.result().await, "hi\n");
    assert!(
        !runs(stage.pid("child").await),
        "it ended before the job did"
    );
}

/// [ARCP 18-4] What forked twice and changed its session ends with its job.
#[tokio::test]
async fn a_daemon_ends_with_its_job() {
    let stage = Stage::shell(&format!("{DAEMON} echo done")).await;
    assert_eq!(stage.result().await, "done\n");
    assert!(
        !runs(stage.pid("daemon").await),
        "it ended before the job did"
    );
}

/// [ARCP 18-4] Also when the job is cancelled, and everybody ignores the polite signal.
#[tokio::test]
async fn a_daemon_ends_with_a_cancelled_job() {
    let script = format!("trap '' TERM; {DAEMON} echo $$ > main; while :; do sleep 1000; done");
    let stage = Stage::shell(&script).await;
    let mut job = stage.submit().await;
    let (daemon, main) = (stage.pid("daemon").await, stage.pid("main").await);
    job.cancel("enough").await.unwrap();
    assert_eq!(failure(&mut job).await.code.as_str(), "CANCELLED");
    is_gone(daemon).await;
    is_gone(main).await;
}

/// A polite signal reaches the program, which may put things in order.
#[tokio::test]
async fn a_program_is_asked_before_it_is_ended() {
    let script =
        "trap 'echo bye > last; exit 0' TERM; echo $$ > main; while :; do sleep 0.01; done";
    let stage = Stage::shell(script).await;
    let mut job = stage.submit().await;
    let main = stage.pid("main").await;
    job.cancel("enough").await.unwrap();
    failure(&mut job).await;
    is_gone(main).await;
    let last = std::fs::read_to_string(stage.place.path().join("last")).unwrap();
    assert_eq!(last, "bye\n");
}

/// The status of the program is the status that is told, through the keeper: a number, or the signal.
#[tokio::test]
async fn the_status_is_the_program_s() {
    let failure = Stage::shell("exit 7").await.failure().await;
    assert!(failure.message.contains("status 7"), "{failure}");
    let details: serde_json::Value = failure.details.unwrap().read().unwrap();
    assert_eq!(details["exit_code"], 7);
    let failure = Stage::shell("kill -KILL $$").await.failure().await;
    assert!(failure.message.contains("signal: 9"), "{failure}");
}

/// Nothing of the output is lost when the program ends right after writing it.
#[tokio::test]
async fn the_last_words_are_heard() {
    let stage = Stage::shell("head -c 200000 /dev/zero | tr '\\0' a; sleep 1000 & exit 0").await;
    let text = stage.result().await;
    assert_eq!(text.as_str().map(str::len), Some(200_000));
}

#[tokio::test]
async fn a_program_that_is_missing_is_named() {
    let agent = towline_agents::ProcessAgent::exec(["no-such-program-at-all"]);
    let failure = Stage::new(agent).await.failure().await;
    assert!(
        failure.message.contains("no-such-program-at-all"),
        "{failure}"
    );
    assert!(failure.message.contains("PATH"), "{failure}");
}
