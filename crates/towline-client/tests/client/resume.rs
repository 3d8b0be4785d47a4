//! Loss, reconnect, resume.

use std::time::Duration;

use serde_json::json;
use tokio::{join, time::Instant};
use towline_client::{
    Client, ClientError, ClientOptions, Connection, JobHandle, Loss, Origin, ResumeState,
    SessionOver,
};
use towline_wire::{ErrorCode, EventSeq, JobId, Secret, SessionId};

use crate::peer::*;

/// The next connection, its hello read and the session resumed.
async fn resumed(arrivals: &mut tokio::sync::mpsc::Receiver<Peer>) -> (Peer, Frame) {
    let mut peer = arrivals.recv().await.unwrap();
    let hello = peer
        .welcome_with(&ALL, json!({"resume_token": "rt_2"}))
        .await;
    (peer, hello)
}

async fn messages(job: &mut JobHandle, count: usize) -> Vec<String> {
    let mut messages = Vec::new();
    for _ in 0..count {
        let event = job.next_event().await.unwrap().unwrap();
        let towline_wire::Event::Log(log) = event.event().unwrap() else {
            panic!("{event:?}")
        };
        messages.push(log.message);
    }
    messages
}

/// After a loss the session is taken up from the last event, and nothing is seen twice.
#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_resumed() {
    let (client, mut peer, mut arrivals) = dialled().await;
    let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    peer.send(log("job_1", 1, "one")).await;
    peer.send(log("job_1", 2, "two")).await;
    assert_eq!(messages(&mut job, 2).await, ["one", "two"]);
    drop(peer);
    let (mut peer, hello) = resumed(&mut arrivals).await;
    let resume = json!({"session_id": SESSION, "resume_token": "rt_1", "token": "rt_1", "last_event_seq": 2});
    assert_eq!(hello.payload()["resume"], resume);
    assert!(hello.payload()["auth"]["token"] == "secret");
    for (seq, message) in [(2, "two"), (3, "three")] {
        peer.send(log("job_1", seq, message)).await;
    }
    peer.send(result("job_1", 4, json!({"result": 1}))).await;
    assert_eq!(messages(&mut job, 1).await, ["three"]);
    assert_eq!(job.result_json::<u8>().await.unwrap(), 1);
    assert_eq!(client.counters().await.unwrap().duplicates, 1);
}

/// The next resume uses the token of the latest welcome.
#[tokio::test(start_paused = true)]
async fn tokens_rotate() {
    let (_client, peer, mut arrivals) = dialled().await;
    drop(peer);
    let (peer, _) = resumed(&mut arrivals).await;
    drop(peer);
    let mut peer = arrivals.recv().await.unwrap();
    let hello = peer.expect("session.hello").await;
    assert_eq!(hello.payload()["resume"]["resume_token"], "rt_2");
}

/// [ARCP 8-4] A gap makes the client resume from the last good event by itself, and is shown.
#[tokio::test(start_paused = true)]
async fn a_gap_heals_by_a_resume() {
    let (client, mut peer, mut arrivals) = dialled().await;
    let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    peer.send(log("job_1", 1, "one")).await;
    peer.send(log("job_1", 3, "three")).await;
    assert!(peer.expect_end().await.is_some());
    let (expected, got) = (EventSeq::new(2), EventSeq::new(3));
    let connection = client.connection();
    assert!(
        matches!(connection, Connection::Reconnecting { cause: Loss::Gap { expected: e, got: g }, .. } if (e, g) == (expected, got)),
        "{connection:?}"
    );
    let (mut peer, hello) = resumed(&mut arrivals).await;
    assert_eq!(hello.payload()["resume"]["last_event_seq"], 1);
    for (seq, message) in [(2, "two"), (3, "three")] {
        peer.send(log("job_1", seq, message)).await;
    }
    assert_eq!(messages(&mut job, 3).await, ["one", "two", "three"]);
    assert_eq!(client.counters().await.unwrap().gaps, 1);
}

#[tokio::test(start_paused = true)]
async fn a_gap_the_runtime_cannot_fill_is_counted_and_passed() {
    let (client, mut peer, mut arrivals) = dialled().await;
    let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    peer.send(log("job_1", 4, "four")).await;
    peer.expect_end().await;
    let (mut peer, _) = resumed(&mut arrivals).await;
    peer.send(log("job_1", 4, "four")).await;
    assert_eq!(messages(&mut job, 1).await, ["four"]);
    let counters = client.counters().await.unwrap();
    assert_eq!((counters.gaps, counters.skipped), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_silent_runtime_and_a_shutdown_are_reconnected_from() {
    let (client, peer, mut arrivals) = dialled().await;
    let (mut peer, _) = join!(resumed(&mut arrivals), async move {
        let mut peer = peer;
        peer.expect("session.ping").await;
        peer.expect_end().await;
    })
    .0;
    peer.expect("session.ping").await;
    peer.send(json!({"id": "c", "type": "session.closed", "session_id": SESSION, "payload": {"reason": "shutdown"}})).await;
    peer.expect_end().await;
    assert!(matches!(
        client.connection(),
        Connection::Reconnecting {
            cause: Loss::Shutdown,
            ..
        }
    ));
    resumed(&mut arrivals).await;
}

#[tokio::test(start_paused = true)]
async fn a_submit_whose_answer_was_lost_is_found_in_the_replay() {
    let (client, mut peer, mut arrivals) = dialled().await;
    let ((job, ()), ()) = join!(
        async { join!(async { client.submit("echo").send().await }, async {}) },
        async {
            let submit = peer.expect("job.submit").await;
            drop(peer);
            let (mut peer, _) = resumed(&mut arrivals).await;
            // [ARCP 6.3-1] it says something at once, and nothing more.
            peer.expect("session.ping").await;
            peer.expect_silence(Duration::from_secs(5)).await;
            peer.send(accepted("job_1", &submit)).await;
            peer.send(result("job_1", 1, json!({"result": 7}))).await;
            // Nobody else is asked.
            peer.expect_silence(Duration::from_secs(1)).await;
            std::mem::forget(peer);
        }
    );
    assert_eq!(job.unwrap().result_json::<u8>().await.unwrap(), 7);
}

/// With an idempotency key, a submit whose answer does not come is made again, once, with the same key.
#[tokio::test(start_paused = true)]
async fn a_lost_submit_with_a_key_is_made_again() {
    let (client, mut peer, mut arrivals) = dialled().await;
    let (job, second) = join!(client.submit("echo").idempotency_key("k").send(), async {
        let first = peer.expect("job.submit").await;
        drop(peer);
        let (mut peer, _) = resumed(&mut arrivals).await;
        let begun = Instant::now();
        let second = loop {
            let frame = peer.next().await.unwrap();
            match frame.0["type"].as_str().unwrap() {
                "session.ping" => {
                    let pong = json!({"ping_nonce": frame.payload()["nonce"]});
                    peer.send(json!({"id": "p", "type": "session.pong", "payload": pong}))
                        .await;
                }
                _ => break frame,
            }
        };
        assert_eq!(begun.elapsed(), Duration::from_secs(30));
        assert_eq!(second.payload(), first.payload());
        assert_ne!(second.id(), first.id());
        peer.send(accepted("job_1", &second)).await;
        peer.send(result("job_1", 1, json!({"result": 7}))).await;
        (peer, second)
    });
    assert_eq!(second.1.0["type"], "job.submit");
    assert_eq!(job.unwrap().result_json::<u8>().await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_lost_submit_without_a_key_says_that_it_may_run() {
    let (client, mut peer, mut arrivals) = dialled().await;
    let (job, _peer) = join!(client.submit("echo").send(), async {
        peer.expect("job.submit").await;
        drop(peer);
        resumed(&mut arrivals).await
    });
    let error = job.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Disconnected {
                maybe_accepted: true
            }
        ),
        "{error:?}"
    );
    assert_eq!(
        (error.origin(), error.is_retryable()),
        (Origin::Transport, true)
    );
}

/// Requests made while there is no connection wait for one; those that can be repeated are asked again.
#[tokio::test(start_paused = true)]
async fn requests_wait_for_the_next_connection() {
    let (client, mut peer, mut arrivals) = dialled().await;
    let (page, job, ()) = join!(
        async { client.list_jobs().page().await },
        async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            client.submit("echo").send().await
        },
        async {
            let asked = peer.expect("session.list_jobs").await;
            drop(peer);
            tokio::time::sleep(Duration::from_millis(50)).await;
            let (mut peer, _) = resumed(&mut arrivals).await;
            let again = peer.expect("session.list_jobs").await;
            assert_eq!(again.id(), asked.id());
            peer.accept("job_1").await;
            let payload = json!({"request_id": again.id(), "jobs": [], "next_cursor": null});
            peer.send(json!({"id": "j", "type": "session.jobs", "session_id": SESSION, "payload": payload})).await;
            peer.expect_silence(Duration::from_secs(1)).await;
        }
    );
    assert!(page.unwrap().jobs.is_empty());
    assert_eq!(job.unwrap().id().as_str(), "job_1");
}

/// [ARCP 6.3-5] A resume that is refused ends the session and every handle, with the runtime's code, and says what to do: be the
/// session too old, or the runtime restored from before what this side has of it.
#[tokio::test(start_paused = true)]
async fn a_refused_resume_ends_everything() {
    for code in [ErrorCode::RESUME_WINDOW_EXPIRED, ErrorCode::INVALID_REQUEST] {
        let (client, mut peer, mut arrivals) = dialled().await;
        let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
        drop(peer);
        let mut peer = arrivals.recv().await.unwrap();
        peer.expect("session.hello").await;
        peer.send(refusal(None, code.as_str())).await;
        let error = job.unwrap().next_event().await.unwrap_err();
        assert_eq!(error.code(), Some(&code));
        assert!(error.to_string().contains("open a new session"), "{error}");
        assert!(matches!(
            client.connection(),
            Connection::Over(SessionOver::NotResumed(_))
        ));
        peer.expect_end().await;
        assert!(arrivals.recv().await.is_none(), "no more tries");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_session_instead_of_the_old_one_is_no_resume() {
    let (client, peer, mut arrivals) = dialled().await;
    let changed = client.connection_changed();
    drop(peer);
    changed.await;
    let changed = client.connection_changed();
    let mut peer = arrivals.recv().await.unwrap();
    peer.expect("session.hello").await;
    let payload =
        json!({"resume_token": "rt_9", "capabilities": {"encodings": ["json"], "features": []}});
    peer.send(
        json!({"id": "w", "type": "session.welcome", "session_id": "sess_2", "payload": payload}),
    )
    .await;
    assert!(matches!(
        changed.await,
        Connection::Over(SessionOver::NotResumed(_))
    ));
}

/// A passing refusal, a silent runtime and a refused connection are tried again, until the window has passed.
#[tokio::test(start_paused = true)]
async fn tries_go_on_with_growing_waits_until_the_window_has_passed() {
    let (client, peer, mut arrivals) = dialled().await;
    let begun = Instant::now();
    drop(peer);
    let mut tries = Vec::new();
    let gave_up = loop {
        tokio::select! {
            Some(mut peer) = arrivals.recv() => {
                tries.push(begun.elapsed());
                peer.expect("session.hello").await;
                let busy = json!({"code": "INTERNAL_ERROR", "message": "busy", "retryable": true});
                peer.send(json!({"id": "x", "type": "session.error", "payload": busy})).await;
                peer.expect_end().await;
            }
            changed = client.connection_changed() => if let Connection::Over(why) = changed { break why },
        }
    };
    assert!(
        matches!(gave_up, SessionOver::GaveUp { after, .. } if after == Duration::from_secs(600)),
        "{gave_up:?}"
    );
    assert_eq!(begun.elapsed(), Duration::from_secs(600));
    let waits: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        tries[0] >= Duration::from_millis(125) && tries[0] < Duration::from_millis(250),
        "{tries:?}"
    );
    assert!(
        waits.iter().all(|wait| *wait <= Duration::from_secs(30)) && tries.len() > 20,
        "{waits:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_connector_the_loss_is_shown_and_mended_by_hand() {
    let (client, mut peer) = connected().await;
    let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    peer.send(log("job_1", 1, "one")).await;
    let (lost, ()) = join!(client.submit("slow").send(), async {
        peer.expect("job.submit").await;
        drop(peer);
    });
    assert!(
        matches!(
            lost,
            Err(ClientError::Disconnected {
                maybe_accepted: true
            })
        ),
        "{lost:?}"
    );
    assert_eq!(
        messages(&mut job, 1).await,
        ["one"],
        "what had come is given first"
    );
    assert!(matches!(
        job.next_event().await,
        Err(ClientError::Disconnected {
            maybe_accepted: false
        })
    ));
    assert!(matches!(
        client.submit("echo").send().await,
        Err(ClientError::Disconnected {
            maybe_accepted: false
        })
    ));
    assert!(matches!(
        client.connection(),
        Connection::Lost {
            cause: Loss::Transport
        }
    ));

    let (mut peer, near) = Peer::pair();
    let (resumed, hello) = join!(client.resume_with(near), peer.welcome(&ALL));
    resumed.unwrap();
    assert_eq!(hello.payload()["resume"]["last_event_seq"], 1);
    peer.send(log("job_1", 2, "two")).await;
    assert_eq!(messages(&mut job, 1).await, ["two"]);
    let busy = client.resume_with(Peer::pair().1).await;
    assert!(matches!(busy, Err(ClientError::Invalid(_))), "{busy:?}");
}

/// A session that another process has put away is taken up, its jobs attached, from the last event that was given out.
#[tokio::test(start_paused = true)]
async fn a_session_moves_between_processes() {
    let (client, mut peer) = connected().await;
    let (job, _) = join!(client.submit("echo").send(), peer.accept("job_1"));
    let mut job = job.unwrap();
    for (seq, message) in [(1, "one"), (2, "two"), (3, "three")] {
        peer.send(log("job_1", seq, message)).await;
    }
    assert_eq!(messages(&mut job, 1).await, ["one"]);
    let state = client.resume_state().await.unwrap().unwrap();
    assert_eq!(
        state.last_event_seq(),
        EventSeq::new(1),
        "not what was received, but what was given out"
    );
    let written = state.to_json_exposing_secret();
    drop((client, job, peer));

    let state = ResumeState::from_json(&written).unwrap();
    let (mut peer, near) = Peer::pair();
    let (client, hello) = join!(Client::connect(near, options().resume(state)), async {
        let hello = peer.welcome(&ALL).await;
        for (seq, message) in [(2, "two"), (3, "three")] {
            peer.send(log("job_1", seq, message)).await;
        }
        hello
    });
    assert_eq!(
        hello.payload()["resume"],
        json!({"session_id": SESSION, "resume_token": "rt_1", "token": "rt_1", "last_event_seq": 1})
    );
    let mut job = client
        .unwrap()
        .attach(&JobId::parse("job_1").unwrap())
        .unwrap();
    assert_eq!(messages(&mut job, 2).await, ["two", "three"]);
}

/// A job that a resume brings without having been named is there too.
#[tokio::test(start_paused = true)]
async fn a_resume_may_bring_jobs_that_were_not_named() {
    let point = ResumeState::new(
        SessionId::parse(SESSION).unwrap(),
        Secret::new("rt_0"),
        EventSeq::ZERO,
    );
    let (mut peer, near) = Peer::pair();
    let (client, ()) = join!(Client::connect(near, options().resume(point)), async {
        peer.welcome(&ALL).await;
        peer.send(log("job_1", 1, "one")).await;
        peer.send(result("job_2", 2, json!({"result": 2}))).await;
    });
    let client = client.unwrap();
    let mut jobs = client.unsolicited_jobs();
    let mut one = jobs.next().await.unwrap();
    assert!(one.accepted().is_none());
    assert_eq!(messages(&mut one, 1).await, ["one"]);
    assert_eq!(
        jobs.next()
            .await
            .unwrap()
            .result_json::<u8>()
            .await
            .unwrap(),
        2
    );
    assert!(jobs.try_next().is_none());
    let (closed, ()) = join!(client.close(""), peer.close());
    closed.unwrap();
    assert!(jobs.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_runtime_without_a_token_cannot_be_resumed() {
    let (options, mut arrivals) = reconnecting(options());
    let (client, ()) = join!(Client::dial(options), async {
        let mut peer = arrivals.recv().await.unwrap();
        peer.welcome_with(&ALL, json!({"resume_token": null})).await;
    });
    let client = client.unwrap();
    let changed = client.connection_changed().await;
    assert!(
        matches!(changed, Connection::Over(SessionOver::NotResumable)),
        "{changed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn dialling_without_success_is_an_error() {
    let error = Client::dial(options()).await.unwrap_err();
    assert!(matches!(error, ClientError::Invalid(_)));
    let (options, arrivals) = reconnecting(options());
    drop(arrivals);
    let error = Client::dial(options).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Connect(_)) && error.is_retryable(),
        "{error:?}"
    );
}

/// [ARCP 6.3-2] The resume token alone takes a session up again: a client without another proof sends the bare resume.
#[tokio::test(start_paused = true)]
async fn a_token_alone_resumes_without_a_hello() {
    let point = ResumeState::new(
        SessionId::parse(SESSION).unwrap(),
        Secret::new("rt_0"),
        EventSeq::new(7),
    );
    let (mut peer, near) = Peer::pair();
    let (client, resume) = join!(
        Client::connect(near, ClientOptions::new().resume(point)),
        async {
            let resume = peer.expect("session.resume").await;
            peer.send(json!({
                "id": "w", "type": "session.welcome", "session_id": SESSION,
                "payload": {"resume_token": "rt_1", "capabilities": {"encodings": ["json"], "features": ALL, "agents": []}},
            }))
            .await;
            resume
        }
    );
    client.unwrap();
    assert_eq!(
        resume.0["payload"],
        json!({"resume_token": "rt_0", "last_event_seq": 7, "session_id": SESSION})
    );
}
