//! What plain programs say beside their output, and what they get back when they run again.

use serde_json::{Value, json};
use towline_agents::{Confinement, ProcessAgent};
use towline_runtime::AgentOptions;
use towline_wire::Lease;

use crate::{
    relayed::{event, opening, result},
    support::{Stage, bodies, failure, is_gone, soon},
};

fn shell(script: &str) -> ProcessAgent {
    ProcessAgent::exec(["sh", "-c", script])
}

/// A line to the side channel.
fn say(line: &Value) -> String {
    format!("echo '{line}' >&$TOWLINE_EVENTS\n")
}

fn budget(amount: &str) -> Lease {
    [("cost.budget", amount)].into_iter().collect()
}

/// [ARCP 18-5] a script reports what it does, hears when that is committed, and is told what is wrong with a line; the same
/// when the kernel keeps it to a lease.
#[tokio::test]
async fn a_script_says_what_it_does() {
    let script = [
        say(&json!({"id": 1, "kind": "progress", "body": {"current": 1, "total": 2}})),
        "read -r ack <&$TOWLINE_EVENTS\n".to_owned(),
        say(&json!({"kind": "thought", "body": {"text": "hm"}})),
        "echo 'no line of ours' >&$TOWLINE_EVENTS\n".to_owned(),
        say(&json!({"kind": "nonsense", "body": {}})),
        say(&json!({"id": "a", "kind": "result_chunk", "body": {}})),
        "read -r refused <&$TOWLINE_EVENTS\n".to_owned(),
        "printf '[%s,%s,%s]' \"$ack\" \"$refused\" \"$TOWLINE_ATTEMPT\"".to_owned(),
    ]
    .concat();
    for stage in [
        Stage::new(shell(&script)).await,
        Stage::held(shell(&script)).await,
    ] {
        let mut job = stage.submit().await;
        let gave: Value = soon(job.result_json()).await.unwrap();
        assert_eq!((&gave[0], &gave[2]), (&json!({"ack": 1}), &json!(1)));
        assert_eq!(gave[1]["refused"], "a");
        assert_eq!(gave[1]["error"]["code"], "INVALID_REQUEST");
        let progress = bodies(&stage.client, job.id(), "progress").await;
        assert_eq!(progress, [json!({"current": 1, "total": 2})]);
        let thoughts = bodies(&stage.client, job.id(), "thought").await;
        assert_eq!(thoughts, [json!({"text": "hm"})]);
        let logs = bodies(&stage.client, job.id(), "log").await;
        let warned = logs.iter().filter(|log| log["level"] == "warn");
        let warned: Vec<_> = warned.filter_map(|log| log["message"].as_str()).collect();
        for part in ["no line of ours", "`nonsense`", "`result_chunk`"] {
            assert!(warned.iter().any(|text| text.contains(part)), "{warned:?}");
        }
    }
}

/// [ARCP 18-5] what only the runtime says of a job, a script cannot say in its place.
#[tokio::test]
async fn a_script_does_not_speak_for_the_runtime() {
    let ours = [
        json!({"id": 1, "kind": "status", "body": {"phase": "running"}}),
        json!({"id": 2, "kind": "status", "body": {"phase": "awaiting_input"}}),
        json!({"id": 3, "kind": "status", "body": {"phase": "credential_rotated", "id": "x", "value": "forged"}}),
        json!({"id": 4, "kind": "metric", "body": {"name": "cost.budget.remaining", "value": 999, "unit": "USD"}}),
        json!({"id": 5, "kind": "status", "body": {"phase": "mine"}}),
    ];
    let mut script = "printf '['\n".to_owned();
    for line in &ours {
        script += &say(line);
        script += "read -r answer <&$TOWLINE_EVENTS; printf '%s,' \"$answer\"\n";
    }
    script += "printf '0]'";
    let stage = Stage::new(shell(&script)).await;
    let mut job = stage.submit().await;
    let gave: Value = soon(job.result_json()).await.unwrap();
    for number in 0..4 {
        assert_eq!(gave[number]["error"]["code"], "INVALID_REQUEST", "{gave}");
    }
    assert_eq!(gave[4], json!({"ack": 5}));
    let statuses = bodies(&stage.client, job.id(), "status").await;
    let own = |status: &&Value| status["value"] == "forged" || status["phase"] == "awaiting_input";
    assert_eq!(statuses.iter().filter(own).count(), 0, "{statuses:?}");
    let metrics = bodies(&stage.client, job.id(), "metric").await;
    assert!(
        metrics.iter().all(|metric| metric["value"] != 999),
        "{metrics:?}"
    );
}

/// [ARCP 18-5] what a program kept is given back to its next run, which knows that it is the second; the job has one end.
#[tokio::test]
async fn a_checkpoint_is_given_back() {
    let script = [
        "if [ -n \"$TOWLINE_CHECKPOINT\" ]; then printf '[%s,%s]' \"$TOWLINE_ATTEMPT\" \"$TOWLINE_CHECKPOINT\"; exit; fi\n"
            .to_owned(),
        say(&json!({"id": "c", "kind": "checkpoint", "body": {"value": {"step": 7}}})),
        "read -r ack <&$TOWLINE_EVENTS; exit 1".to_owned(),
    ]
    .concat();
    let stage = Stage::retried(shell(&script), 1).await;
    assert_eq!(stage.result().await, json!([2, {"step": 7}]));
}

/// [ARCP 18-5, 15-1] a script asks people, says other things meanwhile, and goes on with the answer; what people say to it unasked
/// reaches it as well.
#[tokio::test]
async fn a_script_asks_and_listens() {
    let script = [
        say(&json!({"id": "q", "kind": "ask", "body": {"kind": "choice", "title": "Which?", "options": [{"id": "a", "label": "A"}, {"id": "b", "label": "B"}]}})),
        say(&json!({"kind": "thought", "body": {"text": "meanwhile"}})),
        "read -r answer <&$TOWLINE_EVENTS; read -r told <&$TOWLINE_EVENTS; printf '[%s,%s]' \"$answer\" \"$told\"".to_owned(),
    ]
    .concat();
    let options = AgentOptions::default().listens(true);
    let stage = Stage::with(shell(&script), options, Confinement::dangerously_off()).await;
    let mut job = stage.submit().await;
    let mut asked = None;
    let mut meanwhile = false;
    while asked.is_none() || !meanwhile {
        let event = soon(job.next_event())
            .await
            .unwrap()
            .expect("the job waits");
        let payload = event.payload().unwrap();
        meanwhile |= payload.kind.as_str() == "thought";
        if payload.kind.as_str() == "x-vendor.towline.input_request" {
            let body: Value = payload.body.read().unwrap();
            asked = body["question_id"].as_str().map(str::to_owned);
        }
    }
    let question = asked.unwrap().parse().unwrap();
    job.answer(question, json!("b")).send().await.unwrap();
    job.say(json!({"hurry": true})).await.unwrap();
    let gave: Value = soon(job.result_json()).await.unwrap();
    assert_eq!(
        gave[0],
        json!({"answer": "b", "outcome": "answered", "key": "ask", "id": "q"})
    );
    assert_eq!(gave[1], json!({"message": {"hurry": true}}));
}

/// [ARCP 18-5] a checkpoint that does not fit into a variable is refused, and the one before stands.
#[tokio::test]
async fn a_checkpoint_has_a_size() {
    let script = "
        printf '{\"id\":1,\"kind\":\"checkpoint\",\"body\":{\"value\":\"' >&$TOWLINE_EVENTS
        head -c 70000 /dev/zero | tr '\\0' a >&$TOWLINE_EVENTS
        printf '\"}}\\n' >&$TOWLINE_EVENTS
        read -r answer <&$TOWLINE_EVENTS; printf '%s' \"$answer\"";
    let answer = Stage::new(shell(script)).await.result().await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("65536"), "{message}");
}

/// A script that gives ids and reads no answers is not held up by them.
#[tokio::test]
async fn unread_answers_hold_nothing_up() {
    let script = "i=0; while [ $i -lt 9000 ]; do i=$((i+1)); \
        echo '{\"id\":'$i',\"kind\":\"status\",\"body\":{\"phase\":\"p\"}}'; done >&$TOWLINE_EVENTS; echo 1";
    let stage = Stage::new(shell(script)).await;
    let mut job = stage.submit().await;
    assert_eq!(soon(job.result_json::<Value>()).await.unwrap(), 1);
    let phases = bodies(&stage.client, job.id(), "status").await;
    assert_eq!(
        phases
            .iter()
            .filter(|status| status["phase"] == "p")
            .count(),
        9000
    );
}

/// A line has a longest length; the ones after it are heard.
#[tokio::test]
async fn a_line_has_a_length() {
    let script = format!(
        "head -c 3000000 /dev/zero | tr '\\0' a >&$TOWLINE_EVENTS; echo >&$TOWLINE_EVENTS\n{}",
        say(&json!({"kind": "thought", "body": {"text": "after"}}))
    );
    let stage = Stage::new(shell(&script)).await;
    let mut job = stage.submit().await;
    soon(job.result_json::<Value>()).await.unwrap();
    assert_eq!(
        bodies(&stage.client, job.id(), "thought").await,
        [json!({"text": "after"})]
    );
    let logs = bodies(&stage.client, job.id(), "log").await;
    assert!(
        logs.iter()
            .any(|log| log["message"].as_str().unwrap().contains("1048576 bytes")),
        "{logs:?}"
    );
}

/// [ARCP 9.6-3, 18-4] a program that has spent its budget is ended, though nobody asked for anything; what it did about it by
/// itself comes too late.
#[tokio::test]
async fn a_spent_budget_ends_the_program() {
    let cost = json!({"kind": "metric", "body": {"name": "cost.x", "value": 0.6, "unit": "USD"}});
    let script = [
        "echo $$ > main\n".to_owned(),
        say(&cost),
        say(&cost),
        "sleep 1000".to_owned(),
    ]
    .concat();
    let child = [
        "echo $$ > main\n".to_owned(),
        opening(),
        event(1, "metric", cost["body"].clone()),
        event(2, "metric", cost["body"].clone()),
        result(3, json!("done")),
        "sleep 1000".to_owned(),
    ]
    .concat();
    for agent in [shell(&script), ProcessAgent::arcp(["sh", "-c", &child])] {
        let stage = Stage::new(agent).await;
        let submit = stage.client.submit("script").lease(budget("USD:1.00"));
        let mut job = submit.send().await.unwrap();
        let failure = failure(&mut job).await;
        assert_eq!(failure.code.as_str(), "BUDGET_EXHAUSTED", "{failure}");
        is_gone(stage.pid("main").await).await;
    }
}

/// [ARCP 18-5] what an ARCP child keeps is kept for the job, under either name, and given back in its environment and with
/// the submit.
#[tokio::test]
async fn the_checkpoint_of_a_child_is_given_back() {
    for kind in ["checkpoint", "x-vendor.towline.checkpoint"] {
        let script = [
            opening(),
            "if [ -n \"$TOWLINE_CHECKPOINT\" ]; then\n\
             case \"$submit\" in *'\"x-vendor.towline.checkpoint\":{\"step\":7}'*) ;; *) exit 9;; esac\n\
             case \"$TOWLINE_ATTEMPT $TOWLINE_CHECKPOINT\" in '2 {\"step\":7}') ;; *) exit 8;; esac\n"
                .to_owned(),
            result(1, json!("went on")),
            "exit; fi\n".to_owned(),
            event(1, kind, json!({"value": {"step": 7}})),
            // The line after it is read after it.
            event(2, "thought", json!({"text": "kept"})),
            "exit 3".to_owned(),
        ]
        .concat();
        let stage = Stage::retried(ProcessAgent::arcp(["sh", "-c", &script]), 1).await;
        assert_eq!(stage.result().await, "went on", "{kind}");
    }
}

/// [ARCP 8.4-1] what a child streams is held back while another run may follow: the run that fails has given nothing.
#[tokio::test]
async fn what_a_child_streams_waits_for_its_end() {
    let piece = |seq: u64, number: u64, data: &str, more: bool| {
        let body = json!({"result_id": "r", "chunk_seq": number, "data": data, "encoding": "utf8", "more": more});
        event(seq, "result_chunk", body)
    };
    let end = "echo '{\"arcp\":\"1.1\",\"id\":\"m\",\"type\":\"job.result\",\"session_id\":\"s\",\"job_id\":\"job_1\",\"event_seq\":3,\"payload\":{\"final_status\":\"success\",\"result_id\":\"r\",\"result_size\":2}}'\n";
    let script = [
        opening(),
        piece(1, 0, "a", true),
        "[ $TOWLINE_ATTEMPT = 2 ] || exit 3\n".to_owned(),
        piece(2, 1, "b", false),
        end.to_owned(),
    ]
    .concat();
    let stage = Stage::retried(ProcessAgent::arcp(["sh", "-c", &script]), 1).await;
    let mut job = stage.submit().await;
    let success = soon(job.outcome()).await.unwrap().into_success().unwrap();
    assert_eq!(success.result.to_text().unwrap(), "ab");
}
