//! Deliveries by hand, with a clock that is moved.

use std::time::Duration;

use towline_wire::{JobId, JobSeq, RawJson, Timestamp, payload::Notify};

use super::*;
use crate::fingerprint;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_micros(seconds * 1_000_000)
}

fn post(job: &str, url: &str, seq: u64) -> Post {
    let host = url.split('/').nth(2).unwrap();
    Post {
        id: format!("msg_{job}_{seq}").into(),
        owner: "alice".into(),
        line: Line {
            job: JobId::parse(job).unwrap(),
            url: url.into(),
        },
        seq: JobSeq::new(seq),
        receiver: host.into(),
        delivery: Delivery::new(at(0)),
    }
}

/// One with room for three of one owner, two of them at one receiver.
fn desk() -> Desk {
    Desk::new(Bounds {
        all: 4,
        receiver: 3,
    })
}

/// Every message to be tried at a moment.
fn due(desk: &mut Desk, now: i64) -> Vec<Post> {
    let tries = std::iter::from_fn(|| match desk.next(at(now)) {
        Next::Try(post) => Some(post),
        Next::Wait(_) | Next::Idle => None,
    });
    tries.collect()
}

fn ids(posts: &[Post]) -> Vec<&str> {
    posts.iter().map(|post| &*post.id).collect()
}

fn came(desk: &mut Desk, post: &Post, now: i64, outcome: Result<(), &str>) {
    let outcome = outcome.map_err(str::to_owned);
    let delivery = post.delivery.tried(at(now), at(now), outcome);
    let post = Post {
        delivery,
        ..post.clone()
    };
    desk.tried(post, at(now));
}

/// [ARCP 16-6] tries come after 1, 2, 4 … s up to an hour, for a day from the first one; the last one when the day is over.
#[test]
fn tries_come_rarer_for_a_day() {
    let mut delivery = Delivery::new(at(100));
    let (mut now, mut waits) = (at(100), Vec::new());
    while let Some(due) = delivery.due() {
        waits.push(due.since(now).as_secs());
        now = due;
        delivery = delivery.tried(now, now, Err("500".to_owned()));
    }
    assert_eq!(
        &waits[..14],
        [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600]
    );
    assert!(waits[13..waits.len() - 1].iter().all(|wait| *wait == 3600));
    assert_eq!(now, at(100).plus(TRIED_FOR));
    assert_eq!(delivery.stand, Stand::Failed(now));
    assert_eq!(delivery.last_error.as_deref(), Some("500"));
    assert_eq!(delivery.tries as usize, waits.len());
    // Once more: all of it from the beginning.
    let again = delivery.again(now);
    assert_eq!(again.due(), Some(now));
    let after = again.tried(now, now, Err("503".to_owned()));
    assert_eq!(after.due(), Some(now.plus(Duration::from_secs(1))));
    assert_eq!(after.tries, delivery.tries + 1);
}

/// [ARCP 16-6] a message that came through is done with, and remembers what went wrong before.
#[test]
fn one_that_came_through_is_done_with() {
    let failed = Delivery::new(at(0)).tried(at(0), at(3), Err("it hung".to_owned()));
    assert_eq!(failed.due(), Some(at(4)));
    let done = failed.tried(at(4), at(5), Ok(()));
    assert_eq!((done.due(), done.stand), (None, Stand::Delivered(at(5))));
    assert_eq!((done.tries, done.status()), (2, "delivered"));
    let kept = serde_json::to_string(&done).unwrap();
    assert_eq!(serde_json::from_str::<Delivery>(&kept).unwrap(), done);
}

/// [ARCP 16-6] messages of one job to one URL come in order: none is tried before the one before came through or was given
/// up, and other jobs do not wait for it.
#[test]
fn a_line_keeps_its_order() {
    let mut desk = desk();
    let url = "https://a.example/h";
    for seq in [3, 1, 2] {
        desk.put(post("job_1", url, seq));
    }
    desk.put(post("job_2", url, 1));
    let first = due(&mut desk, 0);
    assert_eq!(ids(&first), ["msg_job_1_1", "msg_job_2_1"]);
    came(&mut desk, &first[0], 0, Err("500"));
    came(&mut desk, &first[1], 0, Ok(()));
    assert_eq!(desk.next(at(0)), Next::Wait(at(1)));
    let again = due(&mut desk, 1);
    assert_eq!(ids(&again), ["msg_job_1_1"]);
    came(&mut desk, &again[0], 1, Ok(()));
    let second = due(&mut desk, 1);
    assert_eq!(ids(&second), ["msg_job_1_2"]);
    // Given up after its day: the next one has its turn.
    came(&mut desk, &second[0], 1, Err("500"));
    let retried = due(&mut desk, 2);
    let late = 2 + i64::try_from(TRIED_FOR.as_secs()).unwrap();
    came(&mut desk, &retried[0], late, Err("500"));
    let third = due(&mut desk, late);
    assert_eq!(ids(&third), ["msg_job_1_3"]);
    came(&mut desk, &third[0], late, Ok(()));
    assert!(desk.is_empty() && desk.is_quiet(at(late)));
    assert_eq!(desk.of("alice"), 0);
    assert_eq!(desk.next(at(late)), Next::Idle);
}

/// [ARCP 16-6] a receiver that hangs has so many tries and no more; others go on beside it.
#[test]
fn a_slow_receiver_stops_nobody_else() {
    let mut desk = desk();
    for job in ["job_1", "job_2", "job_3"] {
        desk.put(post(job, "https://slow.example/h", 1));
    }
    desk.put(post("job_4", "https://quick.example/h", 1));
    desk.put(post("job_5", "https://quick.example/h", 1));
    let hanging = due(&mut desk, 0);
    assert_eq!(ids(&hanging), ["msg_job_1_1", "msg_job_2_1", "msg_job_4_1"]);
    came(&mut desk, &hanging[2], 0, Ok(()));
    let next = due(&mut desk, 0);
    assert_eq!(ids(&next), ["msg_job_5_1"]);
    came(&mut desk, &next[0], 0, Ok(()));
    assert_eq!(desk.next(at(9)), Next::Idle);
    came(
        &mut desk,
        &hanging[0],
        10,
        Err("it did not answer within 10 s"),
    );
    assert_eq!(ids(&due(&mut desk, 10)), ["msg_job_3_1"]);
}

/// What is put anew while it is being tried stays as it is; one that waits is hurried.
#[test]
fn putting_anew_hurries_what_waits() {
    let mut desk = desk();
    let one = post("job_1", "https://a.example/h", 1);
    desk.put(one.clone());
    let tried = due(&mut desk, 0);
    desk.put(one.clone());
    assert_eq!((desk.len(), desk.next(at(0))), (1, Next::Idle));
    assert!(!desk.is_quiet(at(0)));
    came(&mut desk, &tried[0], 0, Err("500"));
    assert_eq!(desk.next(at(0)), Next::Wait(at(1)));
    assert!(desk.is_quiet(at(0)) && !desk.is_quiet(at(1)));
    desk.put(one);
    assert_eq!(ids(&due(&mut desk, 0)), ["msg_job_1_1"]);
    assert_eq!((desk.len(), desk.of("alice"), desk.of("bob")), (1, 1, 0));
}

/// [ARCP 16-6] who wants a message once more while it is being tried gets it tried again, even when that try comes through;
/// the next one of its line waits for that.
#[test]
fn wanted_again_in_the_middle_of_a_try() {
    let mut desk = desk();
    let one = post("job_1", "https://a.example/h", 1);
    desk.put(one.clone());
    desk.put(post("job_1", "https://a.example/h", 2));
    assert!(!desk.again(&one.line, one.seq), "nobody tries it yet");
    let tried = due(&mut desk, 0);
    assert!(!desk.again(&one.line, JobSeq::new(2)) && !desk.is_wanted_again(&one.line));
    assert!(desk.again(&one.line, one.seq) && desk.is_wanted_again(&one.line));
    came(&mut desk, &tried[0], 3, Ok(()));
    let again = due(&mut desk, 3);
    assert_eq!(ids(&again), ["msg_job_1_1"]);
    assert_eq!((again[0].delivery.tries, desk.len()), (1, 2));
    came(&mut desk, &again[0], 4, Ok(()));
    assert_eq!(ids(&due(&mut desk, 4)), ["msg_job_1_2"]);
}

/// [ARCP 14-6, 16-6] what is slow for one owner holds up nobody else: not at the receiver that both post to, and not in all.
#[test]
fn owners_have_turns() {
    let bounds = Bounds {
        all: 8,
        receiver: 3,
    };
    let mut desk = Desk::new(bounds);
    let of = |owner: &str, job: &str, url: &str| Post {
        owner: owner.into(),
        ..post(job, url, 1)
    };
    for n in 0..20 {
        let (job, host) = (format!("job_a{n}"), n % 5);
        desk.put(of("alice", &job, &format!("https://h{host}.example/{n}")));
    }
    // She has two of three at each receiver, and six of eight in all.
    let hers = due(&mut desk, 0);
    assert_eq!(hers.len(), 6);
    desk.put(of("bob", "job_b", "https://h0.example/b"));
    desk.put(of("carol", "job_c", "https://h0.example/c"));
    let theirs = due(&mut desk, 0);
    assert_eq!(ids(&theirs), ["msg_job_b_1"], "h0 is full now");
    came(&mut desk, &hers[0], 0, Err("slow"));
    assert_eq!(ids(&due(&mut desk, 0))[0], "msg_job_c_1", "before hers");
    assert_eq!(desk.of("alice"), 20);
}

/// [ARCP 16-6] hosts compare literally, user information is refused, and a private address takes a pattern that names it.
#[test]
fn only_what_is_covered_is_posted_to() {
    let allowed = Allowed::new([
        "https://hooks.example/**",
        "http://127.0.0.1:9000/in",
        "http://**/**",
    ])
    .unwrap();
    for (url, private) in [
        ("https://hooks.example/a/b?secret=1", true),
        ("https://HOOKS.example/a", true),
        ("http://127.0.0.1:9000/in", true),
        ("http://other.example/x", false),
        ("http://8.8.8.8/x", false),
    ] {
        let receiver = allowed.admit(url).unwrap();
        assert_eq!(receiver.may_be_private, private, "{url}");
    }
    for url in [
        "https://hooks.example.evil.example/a",
        "https://hooks.example:444/a",
        "https://user@hooks.example/a",
        "https://@hooks.example/a",
        "https://hooks.example\\@evil.example/a",
        "ftp://hooks.example/a",
        "wss://hooks.example/a",
        "http://127.0.0.1/in",
        "http://127.1/in",
        "http://2130706433/in",
        "http://[::1]/in",
        "http://10.0.0.7/x",
        "hooks.example/a",
        "",
    ] {
        assert!(allowed.admit(url).is_err(), "{url}");
    }
    assert!(Allowed::default().admit("https://hooks.example/a").is_err());
    let refused = allowed.admit("https://a.example/x?token=t").unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("`https://a.example/x` is not covered")
    );
}

/// [ARCP 16-6] without events the end is told; an event that is none is refused by name.
#[test]
fn a_submit_names_events() {
    let notify = |events: &[&str]| Notify {
        url: "https://a.example/h".to_owned(),
        events: events.iter().map(|name| (*name).to_owned()).collect(),
    };
    let told = |events: &[&str]| HookEvent::ALL.map(|event| wants(&notify(events), event));
    assert_eq!(told(&[]), [false, false, true]);
    assert_eq!(told(&["started", "input_request"]), [true, true, false]);
    assert_eq!(check(&notify(&["ended", "started"])), Ok(()));
    let error = check(&notify(&["finished"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`notify.events` names `finished`, which is none of started, input_request and ended"
    );
    assert!(check(&notify(&["ended"; 4])).is_err());
    assert!(check(&notify(&["ended", "ended"])).is_err());
    let no_url = Notify {
        url: String::new(),
        events: Vec::new(),
    };
    assert!(check(&no_url).is_err());
}

/// [ARCP 7.2-2] another `notify` is another submit.
#[test]
fn it_counts_for_the_fingerprint() {
    let of =
        |text: &str| fingerprint::of_submit(&RawJson::parse(text.to_owned()).unwrap()).unwrap();
    let plain = of(r#"{"agent":"a"}"#);
    let told = of(r#"{"agent":"a","notify":{"url":"https://a.example/h"}}"#);
    let elsewhere = of(r#"{"agent":"a","notify":{"url":"https://b.example/h"}}"#);
    assert!(plain != told && told != elsewhere);
    assert_eq!(of(r#"{"agent":"a","notify":null}"#), plain);
}
