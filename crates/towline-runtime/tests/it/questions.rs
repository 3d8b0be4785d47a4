//! Questions to people, and messages of theirs (chapter 15).

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use towline_runtime::{
    AgentError, AgentOptions, JobContext, Question, RuntimeBuilder, RuntimeOptions,
    roles::{Reach, Role, Roles},
};
use towline_store::{
    EventStore, MemoryStore,
    testing::{Fault, FaultStore},
};

use crate::peer::{ALICE, ALL, BOB, Peer, QUIET, kinds, moment, pass, runtime};

/// Asks one question, which the input describes, and gives what became of it.
pub async fn asking(ctx: JobContext, input: Value) -> Result<Value, AgentError> {
    let title = input["title"].as_str().unwrap_or("Well?");
    let mut question = match input["kind"].as_str() {
        Some("choice") => Question::choice(title, [("a", "first"), ("b", "second")]),
        Some("text") => Question::text(title),
        Some("form") => Question::form(title, input["schema"].clone()),
        _ => Question::approval(title),
    };
    if let Some(seconds) = input["seconds"].as_u64() {
        question = question.expires_in(Duration::from_secs(seconds));
    }
    if !input["default"].is_null() {
        question = question.default_answer(input["default"].clone());
    }
    let answer = ctx
        .ask(input["key"].as_str().unwrap_or("key"), question)
        .await?;
    Ok(json!({
        "outcome": answer.outcome(),
        "answer": answer.value(),
        "note": answer.note(),
        "by": answer.by(),
        "yes": answer.is_yes(),
    }))
}

/// Says back what it is told, until that is `stop`; whose messages those were.
async fn hearing(ctx: JobContext, _input: Value) -> Result<Value, AgentError> {
    let mut heard = Vec::new();
    let mut messages = ctx.messages();
    while let Some(message) = messages.next().await? {
        let body: Value = message.body.read()?;
        ctx.log("info", format!("heard {body}")).await?;
        if body == "stop" {
            break;
        }
        heard.push(json!([body, message.by, message.seq]));
    }
    Ok(json!(heard))
}

pub fn asks(builder: RuntimeBuilder) -> RuntimeBuilder {
    builder.restartable_agent("asks", asking).agent_with(
        "hears",
        hearing,
        AgentOptions::default().restartable(true).listens(true),
    )
}

/// What a session is shown of a question: the word that the job waits, and the request, whose body this gives.
async fn expect_request(peer: &mut Peer) -> Value {
    assert_eq!(peer.expect_event("status").await["phase"], "awaiting_input");
    peer.expect_event("x-vendor.towline.input_request").await
}

/// Answers; gives the reply, which may come behind events.
pub async fn answer(peer: &mut Peer, job: &str, question: &Value, said: Value) -> Value {
    let payload = json!({"job_id": job, "question_id": question, "answer": said});
    peer.ask("x-vendor.towline.answer", payload).await
}

/// [ARCP 15-1, 15-2] a question is an event behind the word that the job waits; its answer is acknowledged, stands in the log
/// with who gave it, and the job goes on with it.
#[tokio::test(start_paused = true)]
async fn asked_and_answered() {
    let runtime = asks(runtime()).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let input = json!({"kind": "choice", "title": "Which?", "default": "b"});
    let job = peer.start(json!({"agent": "asks", "input": input})).await;
    let request = expect_request(&mut peer).await;
    let question = &request["question_id"];
    assert!(question.as_str().unwrap().starts_with("q_"));
    let options = json!([{"id": "a", "label": "first"}, {"id": "b", "label": "second"}]);
    assert_eq!(
        request,
        json!({
            "question_id": question, "kind": "choice", "title": "Which?", "options": options,
            "expires_at": "2026-03-01T13:00:00.000Z", "default": "b",
        })
    );
    let payload = json!({"job_id": job, "question_id": question, "answer": "c"});
    let unfit = peer
        .refused("x-vendor.towline.answer", payload, "INVALID_REQUEST")
        .await;
    assert!(unfit["message"].as_str().unwrap().contains("`a`, `b`"));
    let payload = json!({"job_id": job, "question_id": question, "answer": "a", "note": "as ever"});
    let id = peer.send("x-vendor.towline.answer", payload).await;
    let answered = peer.expect("x-vendor.towline.answered").await;
    assert_eq!(
        answered["payload"],
        json!({"request_id": id, "job_id": job, "question_id": question, "reply_to": id})
    );
    let resolved = peer.expect_event("x-vendor.towline.input_resolved").await;
    assert_eq!(
        resolved,
        json!({"question_id": question, "outcome": "answered", "answer": "a", "note": "as ever", "by": "alice"})
    );
    assert_eq!(peer.expect_event("status").await["phase"], "running");
    let end = peer.expect_end("success").await;
    assert_eq!(
        end["result"],
        json!({"outcome": "answered", "answer": "a", "note": "as ever", "by": "alice", "yes": false})
    );
}

/// [ARCP 15-2] of two answers at once one counts, and the other is told whose that was and when; also when the job has ended by
/// then. An answer to a question that never was is refused too.
#[tokio::test(start_paused = true)]
async fn answered_twice() {
    let options = RuntimeOptions::default().principal_cancels(true);
    let runtime = asks(runtime()).options(options).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let mut other = Peer::alice(&runtime).await;
    let job = peer.start(json!({"agent": "asks"})).await;
    let question = expect_request(&mut peer).await["question_id"].clone();
    let payload = |said: bool| json!({"job_id": job, "question_id": question, "answer": said});
    peer.send("x-vendor.towline.answer", payload(true)).await;
    other.send("x-vendor.towline.answer", payload(false)).await;
    let frames = peer.until_end(&job).await;
    let counts = frames
        .iter()
        .filter(|frame| frame["type"] == "x-vendor.towline.answered")
        .count();
    let reply = other.next().await;
    let (first, late) = if counts == 1 {
        (true, reply)
    } else {
        let refused = frames.iter().find(|frame| frame["type"] == "session.error");
        assert_eq!(reply["type"], "x-vendor.towline.answered");
        (false, refused.unwrap().clone())
    };
    assert_eq!(late["payload"]["code"], "INVALID_REQUEST");
    let details = &late["payload"]["details"];
    assert_eq!(details["by"], "alice");
    assert!(
        details["at"]
            .as_str()
            .unwrap()
            .starts_with("2026-03-01T12:00")
    );
    assert_eq!(frames.last().unwrap()["payload"]["result"]["answer"], first);
    let again = peer
        .refused("x-vendor.towline.answer", payload(true), "INVALID_REQUEST")
        .await;
    assert_eq!(again["details"]["by"], "alice");
    let unknown = json!({"job_id": job, "question_id": "q_none", "answer": true});
    peer.refused("x-vendor.towline.answer", unknown, "INVALID_REQUEST")
        .await;
}

/// [ARCP 15-3] nobody there: at its time the default holds, which for an approval is no, and a question without one has none.
#[tokio::test(start_paused = true)]
async fn nobody_there() {
    let runtime = asks(runtime()).build().await.unwrap();
    let table = [
        (json!({"kind": "approval", "seconds": 60}), json!(false)),
        (json!({"kind": "text", "seconds": 60}), Value::Null),
        (
            json!({"kind": "text", "seconds": 60, "default": "x"}),
            json!("x"),
        ),
    ];
    for (input, default) in table {
        let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
        peer.start(json!({"agent": "asks", "input": input})).await;
        expect_request(&mut peer).await;
        assert_eq!(peer.drain(Duration::from_secs(59)).await, [Value::Null; 0]);
        let resolved = peer.expect_event("x-vendor.towline.input_resolved").await;
        assert_eq!(resolved["outcome"], "expired");
        assert_eq!(resolved.get("by"), None);
        assert_eq!(peer.expect_event("status").await["phase"], "running");
        let end = peer.expect_end("success").await;
        assert_eq!(end["result"]["answer"], default);
        assert_eq!(end["result"]["yes"], false);
    }
}

/// [ARCP 15-1, 15-3] what cannot be asked ends the job with INVALID_REQUEST, and nobody is asked.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked() {
    let runtime = asks(runtime()).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    for input in [
        json!({"kind": "approval", "default": true}),
        json!({"kind": "choice", "default": "z"}),
        json!({"kind": "form", "schema": {"type": "nonsense"}}),
    ] {
        peer.start(json!({"agent": "asks", "input": input})).await;
        let end = peer.expect_end("error").await;
        assert_eq!(end["code"], "INVALID_REQUEST", "{input}");
    }
}

/// [ARCP 15-4] a cancel, the job's time limit and the lease's end withdraw the question before the terminal; the lease's end
/// comes before any default.
#[tokio::test(start_paused = true)]
async fn withdrawn() {
    let runtime = asks(runtime()).build().await.unwrap();
    let table = [
        (json!({"agent": "asks"}), "cancelled", "CANCELLED"),
        (
            json!({"agent": "asks", "max_runtime_sec": 60}),
            "timed_out",
            "TIMEOUT",
        ),
        (
            json!({"agent": "asks", "input": {"kind": "text", "default": "x", "seconds": 86400}}),
            "error",
            "LEASE_EXPIRED",
        ),
    ];
    for (mut submit, status, code) in table {
        let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
        if code == "LEASE_EXPIRED" {
            submit["lease_constraints"] = json!({"expires_at": "2026-03-01T18:00:00Z"});
        }
        let job = peer.start(submit).await;
        let request = expect_request(&mut peer).await;
        if code == "LEASE_EXPIRED" {
            assert_eq!(request["expires_at"], "2026-03-01T18:00:00.000Z");
            pass(6.0 * 3600.0).await;
        }
        if code == "CANCELLED" {
            peer.send("job.cancel", json!({"job_id": job})).await;
            peer.expect("job.cancelled").await;
        }
        let resolved = peer.expect_event("x-vendor.towline.input_resolved").await;
        assert_eq!(
            resolved,
            json!({"question_id": request["question_id"], "outcome": "withdrawn"})
        );
        assert_eq!(peer.expect_end(status).await["code"], code);
        let late = json!({"job_id": job, "question_id": request["question_id"], "answer": true});
        peer.refused("x-vendor.towline.answer", late, "INVALID_REQUEST")
            .await;
    }
}

/// [ARCP 15-4] asked before and answered after a crash: the question is still open, and the agent that runs again waits for the
/// same one.
#[tokio::test(start_paused = true)]
async fn a_question_survives_a_crash() {
    let disk = FaultStore::new(MemoryStore::new());
    let first = asks(runtime()).shared_store(Arc::new(disk.clone()));
    let first = first.build().await.unwrap();
    let mut peer = Peer::alice(&first).await;
    let job = peer.start(json!({"agent": "asks"})).await;
    let question = expect_request(&mut peer).await["question_id"].clone();
    disk.every_commit(Some(Fault::Hang));
    let second = asks(runtime()).shared_store(disk.inner().clone());
    let second = second.build().await.unwrap();
    let mut peer = Peer::resume(&second, &peer.token, peer.last).await;
    peer.expect("job.accepted").await;
    assert_eq!(peer.expect_event("status").await["phase"], "running");
    let open = peer.ask("x-vendor.towline.inbox", json!({})).await;
    assert_eq!(open["payload"]["questions"][0]["question_id"], question);
    let answered = answer(&mut peer, &job, &question, json!(true)).await;
    assert_eq!(answered["type"], "x-vendor.towline.answered");
    let frames = peer.until_end(&job).await;
    assert_eq!(
        kinds(&frames),
        ["x-vendor.towline.input_resolved", "status", "job.result"]
    );
    assert_eq!(frames[2]["payload"]["result"]["yes"], true);
}

/// [ARCP 15-4] an answer that was given before the crash is the answer after it, without another question; and a question of a
/// job that cannot run again is withdrawn.
#[tokio::test(start_paused = true)]
async fn an_answer_survives_a_crash() {
    let disk = FaultStore::new(MemoryStore::new());
    let agents = |builder: RuntimeBuilder| {
        builder
            .restartable_agent("twice", |ctx: JobContext, _: Value| async move {
                let first = ctx.ask("one", Question::text("One?")).await?;
                let second = ctx.ask("two", Question::text("Two?")).await?;
                Ok::<_, AgentError>(json!([first.value(), second.value()]))
            })
            .agent("once", asking)
    };
    let first = agents(runtime()).shared_store(Arc::new(disk.clone()));
    let first = first.build().await.unwrap();
    let mut peer = Peer::alice(&first).await;
    let job = peer.start(json!({"agent": "twice"})).await;
    let one = expect_request(&mut peer).await["question_id"].clone();
    answer(&mut peer, &job, &one, json!("1")).await;
    peer.expect_event("x-vendor.towline.input_resolved").await;
    peer.expect_event("status").await;
    let two = expect_request(&mut peer).await["question_id"].clone();
    let mut other = Peer::alice(&first).await;
    let lost = other.start(json!({"agent": "once"})).await;
    expect_request(&mut other).await;
    disk.every_commit(Some(Fault::Hang));
    let second = agents(runtime()).shared_store(disk.inner().clone());
    let second = second.build().await.unwrap();
    let mut peer = Peer::resume(&second, &peer.token, peer.last).await;
    peer.expect("job.accepted").await;
    assert_eq!(peer.expect_event("status").await["phase"], "running");
    answer(&mut peer, &job, &two, json!("2")).await;
    let end = peer.until_end(&job).await.pop().unwrap();
    assert_eq!(end["payload"]["result"], json!(["1", "2"]));
    let mut other = Peer::resume(&second, &other.token, other.last).await;
    let frames = other.until_end(&lost).await;
    assert_eq!(frames[1]["payload"]["body"]["outcome"], "withdrawn");
    assert_eq!(
        frames[2]["payload"]["details"]["reason"],
        "runtime_restarted"
    );
}

/// [ARCP 15-1, 15-3] an answer, or nobody's, that the store has not got yet is heard by nobody: neither by the agent nor by a
/// peer.
#[tokio::test(start_paused = true)]
async fn no_answer_is_heard_before_it_is_durable() {
    let disk = FaultStore::new(MemoryStore::new());
    let runtime = asks(runtime()).shared_store(Arc::new(disk.clone()));
    let runtime = runtime.build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let job = peer.start(json!({"agent": "asks"})).await;
    let question = expect_request(&mut peer).await["question_id"].clone();
    disk.every_commit(Some(Fault::Hang));
    let payload = json!({"job_id": job, "question_id": question, "answer": true});
    peer.send("x-vendor.towline.answer", payload).await;
    peer.expect_silence().await;
    let stored = disk.inner().job(&job.parse().unwrap()).await.unwrap();
    assert_eq!(stored.unwrap().state.last_seq.value(), 3);
}

/// [ARCP 15-5] a subscriber without the authority sees the question, and that it may not answer it; its answer is refused. Who
/// may cancel may answer, and so may whom a role lets, who then sees the question as one to answer and has it in his inbox.
#[tokio::test(start_paused = true)]
async fn who_may_answer() {
    let watching = |role: &str| Role::named(role).may_watch(Reach::All);
    let roles = Roles::new(watching("none"))
        .role(watching("looks"))
        .role(watching("answers").may_answer(Reach::All));
    for (role, may) in [("looks", false), ("answers", true)] {
        let roles = roles.clone().assign("bob", role).unwrap();
        let runtime = asks(runtime()).roles(roles).build().await.unwrap();
        let mut peer = Peer::alice(&runtime).await;
        let job = peer.start(json!({"agent": "asks"})).await;
        let mut bob = Peer::bob(&runtime).await;
        bob.ask("job.subscribe", json!({"job_id": job, "history": true}))
            .await;
        assert_eq!(bob.expect_event("status").await["phase"], "running");
        let own = expect_request(&mut peer).await;
        assert_eq!(own.get("may_answer"), None);
        let seen = expect_request(&mut bob).await;
        assert_eq!(seen.get("may_answer"), (!may).then_some(&json!(false)));
        let open = bob.ask("x-vendor.towline.inbox", json!({})).await;
        let open = open["payload"]["questions"].as_array().unwrap().len();
        assert_eq!(open, usize::from(may));
        let reply = answer(&mut bob, &job, &own["question_id"], json!(true)).await;
        if may {
            assert_eq!(reply["type"], "x-vendor.towline.answered");
            assert_eq!(
                peer.until_end(&job).await.last().unwrap()["payload"]["result"]["by"],
                "bob"
            );
        } else {
            assert_eq!(reply["payload"]["code"], "PERMISSION_DENIED");
            peer.expect_silence().await;
        }
    }
}

/// [ARCP 15-5, 7.6-5] to a stranger the job is not there; another session of the principal's may answer where it may cancel.
#[tokio::test(start_paused = true)]
async fn strangers_do_not_answer() {
    for same_principal in [false, true] {
        let options = RuntimeOptions::default()
            .conceal_foreign_jobs(true)
            .principal_cancels(same_principal);
        let runtime = asks(runtime()).options(options).build().await.unwrap();
        let mut peer = Peer::alice(&runtime).await;
        let job = peer.start(json!({"agent": "asks"})).await;
        let question = expect_request(&mut peer).await["question_id"].clone();
        let mut bob = Peer::open(&runtime, BOB, ALL).await;
        let refused = answer(&mut bob, &job, &question, json!(true)).await;
        assert_eq!(refused["payload"]["code"], "JOB_NOT_FOUND");
        let spoken = json!({"job_id": job, "body": "hi"});
        bob.refused("x-vendor.towline.message", spoken, "JOB_NOT_FOUND")
            .await;
        let mut other = Peer::alice(&runtime).await;
        let reply = answer(&mut other, &job, &question, json!(true)).await;
        if same_principal {
            assert_eq!(reply["type"], "x-vendor.towline.answered");
        } else {
            assert_eq!(reply["payload"]["code"], "PERMISSION_DENIED");
        }
    }
}

/// [ARCP 15-1, 6.2-3, 6.2-4] a session without the feature sees that the job waits and that it goes on, and nothing else; what
/// it asks about questions is refused, naming the feature.
#[tokio::test(start_paused = true)]
async fn without_the_feature() {
    let runtime = asks(runtime()).build().await.unwrap();
    let plain = &QUIET[..QUIET.len() - 1];
    let mut peer = Peer::open(&runtime, ALICE, plain).await;
    let input = json!({"seconds": 60});
    peer.start(json!({"agent": "asks", "input": input})).await;
    assert_eq!(peer.expect_event("status").await["phase"], "awaiting_input");
    for (kind, payload) in [
        (
            "answer",
            json!({"job_id": "job_1", "question_id": "q_1", "answer": true}),
        ),
        ("message", json!({"job_id": "job_1", "body": 1})),
        ("inbox", json!({})),
    ] {
        let kind = format!("x-vendor.towline.{kind}");
        let refused = peer.refused(&kind, payload, "INVALID_REQUEST").await;
        assert!(
            refused["message"]
                .as_str()
                .unwrap()
                .contains("x-vendor.towline.input")
        );
    }
    assert_eq!(peer.expect_event("status").await["phase"], "running");
    peer.expect_end("success").await;
}

/// [ARCP 15-7] what is said to a running job is in its log, where the reply says, and is heard in order from the first message
/// on; what an agent that does not listen is told is refused, and so is what is said too late.
#[tokio::test(start_paused = true)]
async fn speaking() {
    let runtime = asks(runtime()).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let deaf = peer.start(json!({"agent": "asks"})).await;
    expect_request(&mut peer).await;
    let spoken = json!({"job_id": deaf, "body": "hi"});
    peer.refused("x-vendor.towline.message", spoken, "INVALID_REQUEST")
        .await;
    let job = peer.start(json!({"agent": "hears"})).await;
    for (said, seq) in [(json!({"a": 1}), 2), (json!("stop"), 4)] {
        let payload = json!({"job_id": job, "body": said});
        let reply = peer.ask("x-vendor.towline.message", payload).await;
        assert_eq!(reply["type"], "x-vendor.towline.message_accepted");
        assert_eq!(reply["payload"]["job_seq"], seq);
        let event = peer.next().await;
        assert_eq!(event["job_seq"], seq);
        let body = &event["payload"]["body"];
        assert_eq!(*body, json!({"body": said, "by": "alice"}));
        peer.expect_event("log").await;
    }
    let end = peer.expect_end("success").await;
    assert_eq!(end["result"], json!([[{"a": 1}, "alice", 2]]));
    let late = json!({"job_id": job, "body": "more"});
    let late = peer
        .refused("x-vendor.towline.message", late, "INVALID_REQUEST")
        .await;
    assert_eq!(late["details"]["status"], "success");
}

/// [ARCP 15-7] an agent that runs again hears everything again.
#[tokio::test(start_paused = true)]
async fn messages_survive_a_crash() {
    let disk = FaultStore::new(MemoryStore::new());
    let first = asks(runtime()).shared_store(Arc::new(disk.clone()));
    let first = first.build().await.unwrap();
    let mut peer = Peer::alice(&first).await;
    let job = peer.start(json!({"agent": "hears"})).await;
    for said in ["one", "two"] {
        let payload = json!({"job_id": job, "body": said});
        peer.ask("x-vendor.towline.message", payload).await;
        peer.expect_event("x-vendor.towline.message").await;
        peer.expect_event("log").await;
    }
    disk.every_commit(Some(Fault::Hang));
    let second = asks(runtime()).shared_store(disk.inner().clone());
    let second = second.build().await.unwrap();
    let mut peer = Peer::resume(&second, &peer.token, peer.last).await;
    peer.expect("job.accepted").await;
    peer.expect_event("status").await;
    for said in ["one", "two"] {
        let heard = peer.expect_event("log").await;
        assert_eq!(heard["message"], format!("heard {said:?}"));
    }
    let payload = json!({"job_id": job, "body": "stop"});
    peer.ask("x-vendor.towline.message", payload).await;
    let end = peer.until_end(&job).await.pop().unwrap();
    assert_eq!(end["payload"]["result"].as_array().unwrap().len(), 2);
}

/// [ARCP 15-2, 15-7, 14-3] who answered what, who spoke and what nobody answered is in the audit log.
#[tokio::test(start_paused = true)]
async fn audited() {
    let disk = Arc::new(MemoryStore::new());
    let runtime = asks(runtime()).shared_store(disk.clone());
    let runtime = runtime.build().await.unwrap();
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    let job = peer.start(json!({"agent": "asks"})).await;
    let first = expect_request(&mut peer).await["question_id"].clone();
    answer(&mut peer, &job, &first, json!(true)).await;
    peer.until_end(&job).await;
    answer(&mut peer, &job, &first, json!(false)).await;
    let job = peer
        .start(json!({"agent": "asks", "input": {"seconds": 5}}))
        .await;
    let second = expect_request(&mut peer).await["question_id"].clone();
    peer.until_end(&job).await;
    moment().await;
    let rows = disk.audit(100).await.unwrap();
    let told: Vec<Value> = rows
        .iter()
        .filter(|row| row.action == "answer")
        .map(|row| row.data.read().unwrap())
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(
        (
            &told[0]["principal"],
            &told[0]["outcome"],
            &told[0]["answer"]
        ),
        (&json!("alice"), &json!("answered"), &json!("true"))
    );
    assert_eq!(told[0]["question"], first);
    assert_eq!(told[1]["code"], "INVALID_REQUEST");
    assert_eq!(
        (&told[2]["question"], &told[2]["outcome"]),
        (&second, &json!("expired"))
    );
}

/// [ARCP 15-1] an agent does not make up what people were asked and said.
#[tokio::test(start_paused = true)]
async fn an_agent_forges_nothing() {
    let forge = |ctx: JobContext, kind: String| async move {
        let kind = towline_wire::EventKind::new(&kind);
        let forged = ctx.emit(&kind, json!({})).await;
        Ok::<_, AgentError>(forged.is_err())
    };
    let runtime = runtime().agent("forges", forge).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    for kind in ["input_request", "input_resolved", "grant", "message"] {
        let input = format!("x-vendor.towline.{kind}");
        peer.start(json!({"agent": "forges", "input": input})).await;
        assert_eq!(peer.expect_end("success").await["result"], true);
    }
}
