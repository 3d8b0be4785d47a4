use super::*;

fn noon() -> Timestamp {
    at(0.0)
}

/// So many seconds after noon.
fn at(seconds: f64) -> Timestamp {
    Timestamp::from_unix_micros(1_900_000_000_000_000 + (seconds * 1e6) as i64)
}

fn plain() -> Terms {
    Terms::default()
}

fn queue(per_principal: usize, running: usize, queued: usize) -> AdmissionQueue<&'static str, u32> {
    AdmissionQueue::new(AdmissionLimits {
        per_principal,
        running,
        queued,
        queued_bytes: 40,
        children_per_principal: 2,
        waiting_per_principal: 3,
        waiting_bytes_per_principal: 10,
    })
}

/// [ARCP 7.1-5] over the limit jobs wait, in order, and beyond the bound they are refused.
#[test]
fn limits_queue_and_then_refuse() {
    let mut queue = queue(1, 10, 2);
    assert_eq!(queue.admit(&"a", 1, 1), Admission::Start);
    assert_eq!(queue.admit(&"a", 2, 1), Admission::Queued);
    assert_eq!(queue.admit(&"a", 3, 1), Admission::Queued);
    assert_eq!(queue.admit(&"a", 4, 1), Admission::Full(NoRoom::Everybody));
    assert_eq!(queue.release(&"a", None, noon), [2]);
    assert_eq!(queue.release(&"a", None, noon), [3]);
    assert_eq!(queue.release(&"a", None, noon), [0; 0]);
    assert_eq!((queue.running(), queue.queued()), (0, 0));
}

/// [ARCP 20-1] a principal with a bound of its own waits over that one, and over everybody's once it has none.
#[test]
fn a_principal_may_have_a_bound_of_its_own() {
    let mut queue = queue(2, 10, 10);
    queue.limit(&"a", Some(1));
    assert_eq!(queue.admit(&"a", 1, 1), Admission::Start);
    assert_eq!(queue.admit(&"a", 2, 1), Admission::Queued);
    assert_eq!(queue.admit(&"b", 3, 1), Admission::Start);
    assert_eq!(queue.admit(&"b", 4, 1), Admission::Start);
    queue.limit(&"a", None);
    assert_eq!(queue.release(&"b", None, noon), [2]);
}

/// [ARCP 7.1-5] principals take turns: one that floods the queue does not keep the others out.
#[test]
fn the_queue_is_fair() {
    let mut queue = queue(10, 1, 100);
    queue.admit(&"flood", 0, 1);
    for job in 1..=3 {
        queue.admit(&"flood", job, 1);
    }
    queue.admit(&"quiet", 10, 1);
    assert_eq!(queue.release(&"flood", None, noon), [1]);
    assert_eq!(queue.release(&"flood", None, noon), [10]);
    assert_eq!(queue.release(&"quiet", None, noon), [2]);
}

/// [ARCP 7.4-4] a waiting job that is withdrawn never starts.
#[test]
fn a_withdrawn_job_is_forgotten() {
    let mut queue = queue(1, 1, 10);
    queue.admit(&"a", 1, 1);
    queue.admit(&"a", 2, 1);
    assert!(queue.withdraw(&plain(), &"a", &2));
    assert!(!queue.withdraw(&plain(), &"a", &2));
    assert_eq!(queue.release(&"a", None, noon), [0; 0]);
}

/// [ARCP 7.1-5] delegated children never queue, so parents that fill every place cannot wait for each other forever.
/// [ARCP 14-6] They have a quota of their own, and take nobody's place.
#[test]
fn children_run_beside_the_limits() {
    let mut queue = queue(1, 2, 10);
    assert_eq!(queue.admit(&"a", 1, 1), Admission::Start);
    assert!(queue.admit_child(&"a") && queue.admit_child(&"a"));
    assert!(!queue.admit_child(&"a"), "as many as it may");
    assert!(queue.admit_child(&"b"), "another's quota is its own");
    assert_eq!(
        queue.admit(&"b", 2, 1),
        Admission::Start,
        "no place is taken"
    );
    assert_eq!(queue.running(), 2);
    assert_eq!(queue.admit(&"a", 3, 1), Admission::Queued);
    queue.release_child(&"a");
    assert!(queue.admit_child(&"a"), "given back");
    assert_eq!(
        queue.release(&"a", None, noon),
        [3],
        "a root's place is a root's"
    );
}

/// [ARCP 14-6] What waits is bounded in bytes for everybody together too, however many share it.
#[test]
fn waiting_is_bounded_in_bytes_for_all() {
    let mut queue = queue(1, 1, 100);
    queue.admit(&"a", 0, 1);
    for (job, principal) in ["a", "b", "c", "d"].iter().enumerate() {
        let job = u32::try_from(job + 1).unwrap();
        assert_eq!(queue.admit(principal, job, 10), Admission::Queued);
    }
    assert_eq!(queue.admit(&"e", 5, 1), Admission::Full(NoRoom::Everybody));
    assert!(queue.withdraw(&plain(), &"b", &2));
    assert_eq!(queue.admit(&"e", 5, 10), Admission::Queued);
    let mut queue = self::queue(1, 1, 100);
    queue.admit(&"a", 0, 1);
    assert_eq!(queue.admit(&"b", 1, 99), Admission::Queued, "one may wait");
}

/// [ARCP 14-6] a principal waits within bounds of its own, in number and in bytes; others still have room.
#[test]
fn waiting_is_bounded_for_each_principal() {
    let mut queue = queue(1, 1, 100);
    queue.admit(&"a", 0, 1);
    assert_eq!(queue.admit(&"a", 1, 6), Admission::Queued);
    let full = Admission::Full(NoRoom::Bytes(10));
    assert_eq!(queue.admit(&"a", 2, 5), full);
    assert_eq!(queue.admit(&"a", 2, usize::MAX), full);
    assert_eq!(queue.admit(&"a", 3, 2), Admission::Queued);
    assert_eq!(queue.admit(&"a", 4, 2), Admission::Queued);
    assert_eq!(queue.admit(&"a", 5, 0), Admission::Full(NoRoom::Jobs(3)));
    assert_eq!(
        queue.admit_again(&plain(), &"a", 6, 99, noon()),
        Admission::Queued
    );
    assert!(queue.withdraw(&plain(), &"a", &6) && queue.withdraw(&plain(), &"a", &1));
    assert_eq!(queue.admit(&"b", 7, 20), Admission::Queued, "one may wait");
    assert_eq!(
        queue.admit(&"a", 8, 6),
        Admission::Queued,
        "bytes came back"
    );
}

type Queues = AdmissionQueue<&'static str, u32>;

/// Places for everybody, and a queue `q`.
fn with_queue(rules: QueueRules) -> (Queues, Terms) {
    let mut queue = AdmissionQueue::new(AdmissionLimits::default());
    queue.set_queues([("q".to_owned(), rules)]);
    let terms = terms(&queue, "null");
    (queue, terms)
}

fn terms(queue: &Queues, input: &str) -> Terms {
    Terms {
        line: queue.line("q", &RawJson::parse(input).unwrap()),
        ..Terms::default()
    }
}

fn limit(limit: usize) -> QueueRules {
    QueueRules {
        limit: Some(limit),
        ..QueueRules::default()
    }
}

fn end(queue: &mut Queues, terms: &Terms, principal: &'static str) -> Vec<u32> {
    queue.release(&principal, terms.line.as_ref(), noon)
}

/// [ARCP 22-4] a queue's limit holds for its jobs, whoever has them run; those of no queue do not wait for it.
#[test]
fn a_queue_has_a_limit() {
    let (mut queue, q) = with_queue(limit(2));
    let admit = |queue: &mut Queues, principal, job| queue.admit_on(&q, &principal, job, 1, noon());
    assert_eq!(admit(&mut queue, "a", 1), Admission::Start);
    assert_eq!(admit(&mut queue, "b", 2), Admission::Start);
    assert_eq!(admit(&mut queue, "a", 3), Admission::Queued);
    assert_eq!(admit(&mut queue, "b", 4), Admission::Queued);
    assert_eq!(queue.admit(&"a", 5, 1), Admission::Start);
    assert_eq!(queue.position(&q, &"a", &3), Some(1));
    assert_eq!(queue.position(&q, &"b", &4), Some(2));
    assert_eq!(queue.position(&q, &"a", &1), None);
    assert_eq!(end(&mut queue, &q, "b"), [3]);
    assert_eq!(queue.position(&q, &"b", &4), Some(1));
    assert!(queue.withdraw(&q, &"b", &4));
    assert_eq!(end(&mut queue, &q, "a"), [0; 0]);
    assert_eq!((queue.queued(), queue.running()), (0, 2));
}

/// [ARCP 22-4] higher priorities first, and within one priority principals take turns; positions say so.
#[test]
fn priorities_come_first_and_principals_take_turns() {
    let (mut queue, q) = with_queue(limit(1));
    queue.admit_on(&q, &"a", 0, 1, noon());
    let waiting = [
        ("a", 1, 0),
        ("a", 2, 0),
        ("a", 3, 0),
        ("b", 4, 0),
        ("c", 5, -1),
        ("b", 6, 100),
        ("a", 7, 100),
        ("c", 8, 0),
    ];
    let with = |priority| Terms {
        priority,
        ..q.clone()
    };
    for (principal, job, priority) in waiting {
        let terms = with(priority);
        let admitted = queue.admit_on(&terms, &principal, job, 1, noon());
        assert_eq!(admitted, Admission::Queued);
    }
    let expected = [7, 6, 1, 4, 8, 2, 3, 5];
    for (place, job) in expected.iter().enumerate() {
        let (principal, _, priority) = waiting.iter().find(|one| one.1 == *job).unwrap();
        let position = queue.position(&with(*priority), principal, job);
        assert_eq!(position, Some(place + 1), "of {job}");
    }
    let mut order = Vec::new();
    let mut runs = "a";
    loop {
        let next = end(&mut queue, &q, runs);
        let Some(job) = next.first() else { break };
        assert_eq!(next.len(), 1);
        runs = waiting.iter().find(|one| one.1 == *job).unwrap().0;
        order.push(*job);
    }
    assert_eq!(order, expected);
}

/// [ARCP 22-4] in no span of a rate's length begin more than it says, and what waits begins by itself.
#[test]
fn a_rate_bounds_beginnings() {
    let (mut queue, q) = with_queue(QueueRules {
        rate: Some("2/m".parse().unwrap()),
        ..QueueRules::default()
    });
    let admit = |queue: &mut Queues, job, time| queue.admit_on(&q, &"a", job, 1, at(time));
    assert_eq!(admit(&mut queue, 1, 0.0), Admission::Start);
    assert_eq!(admit(&mut queue, 2, 10.0), Admission::Start);
    assert_eq!(admit(&mut queue, 3, 20.0), Admission::Queued);
    assert_eq!(admit(&mut queue, 4, 20.0), Admission::Queued);
    assert_eq!(admit(&mut queue, 5, 20.0), Admission::Queued);
    // That others end changes nothing.
    assert_eq!(queue.release(&"a", q.line.as_ref(), || at(30.0)), [0; 0]);
    assert_eq!(queue.next_at(), Some(at(60.0)));
    assert_eq!(queue.advance(at(59.0)), [0; 0]);
    assert_eq!(queue.advance(at(60.0)), [3]);
    assert_eq!(queue.next_at(), Some(at(70.0)));
    // Whoever comes when the time has come goes behind those who wait.
    assert_eq!(admit(&mut queue, 6, 70.5), Admission::Queued);
    assert_eq!(queue.advance(at(71.0)), [4]);
    assert_eq!(queue.advance(at(120.0)), [5]);
    assert_eq!(queue.advance(at(131.0)), [6]);
    for _ in 0..5 {
        queue.release(&"a", q.line.as_ref(), || at(140.0));
    }
    // Nothing is kept of a line in which nothing happens.
    let last = queue.next_at().unwrap();
    assert_eq!(queue.advance(last), [0; 0]);
    assert_eq!((queue.next_at(), queue.lines.len()), (None, 0));
}

/// [ARCP 22-4] a key divides a queue by a value of the input; inputs without it are a group of their own.
#[test]
fn a_key_divides_a_queue() {
    let (mut queue, _) = with_queue(QueueRules {
        key: Some("/repo".parse().unwrap()),
        ..limit(1)
    });
    let mut admit = |job, input| {
        let terms = terms(&queue, input);
        queue.admit_on(&terms, &"a", job, 1, noon())
    };
    for (job, input, admission) in [
        (1, r#"{"repo":"x"}"#, Admission::Start),
        (2, r#"{"other":1,"repo":"x"}"#, Admission::Queued),
        (3, r#"{"repo":"y"}"#, Admission::Start),
        (4, r#"{"repo":null}"#, Admission::Start),
        (5, "{}", Admission::Start),
        (6, "7", Admission::Queued),
        (7, r#"{"repo":{"a":1,"b":2.0}}"#, Admission::Start),
        (8, r#"{"repo":{"b":2,"a":1}}"#, Admission::Queued),
        (9, r#"{"repo":{"b":2,"a":1,"c":null}}"#, Admission::Start),
    ] {
        assert_eq!(admit(job, input), admission, "{job}");
    }
}

/// [ARCP 22-4] who lacks a place keeps nobody of the queue waiting.
#[test]
fn a_place_that_one_lacks_keeps_no_other_waiting() {
    let mut queue = queue(1, 10, 10);
    queue.set_queues([("q".to_owned(), limit(1))]);
    let q = terms(&queue, "null");
    assert_eq!(queue.admit(&"a", 1, 1), Admission::Start);
    let high = Terms {
        priority: 9,
        ..q.clone()
    };
    assert_eq!(queue.admit_on(&high, &"a", 2, 1, noon()), Admission::Queued);
    assert_eq!(queue.admit_on(&q, &"b", 3, 1, noon()), Admission::Start);
    assert_eq!(queue.release(&"a", None, noon), [0; 0], "the queue is full");
    assert_eq!(end(&mut queue, &q, "b"), [2]);
}

/// [ARCP 7.1-5] where only a few run at all, principals take turns whether they stand in a queue or not.
#[test]
fn turns_are_taken_across_queues() {
    let mut queue = queue(10, 1, 100);
    queue.set_queues([("q".to_owned(), limit(5))]);
    let q = terms(&queue, "null");
    queue.admit(&"a", 0, 1);
    for job in 1..=2 {
        assert_eq!(queue.admit(&"a", job, 1), Admission::Queued);
        assert_eq!(
            queue.admit_on(&q, &"b", 10 + job, 1, noon()),
            Admission::Queued
        );
    }
    assert_eq!(queue.release(&"a", None, noon), [1]);
    assert_eq!(queue.release(&"a", None, noon), [11]);
    assert_eq!(end(&mut queue, &q, "b"), [2]);
    assert_eq!(queue.release(&"a", None, noon), [12]);
}

/// [ARCP 22-1] a job that is not to begin before a time waits for it, within the bounds on waiting, and then stands where it
/// would have.
#[test]
fn a_job_waits_for_its_time() {
    let mut queue = queue(1, 10, 10);
    let later = |seconds| Terms {
        not_before: Some(at(seconds)),
        ..Terms::default()
    };
    let admit =
        |queue: &mut Queues, job, seconds| queue.admit_on(&later(seconds), &"a", job, 1, noon());
    assert_eq!(admit(&mut queue, 1, -5.0), Admission::Start, "past is now");
    assert_eq!(admit(&mut queue, 2, 20.0), Admission::Queued);
    assert_eq!(admit(&mut queue, 3, 10.0), Admission::Queued);
    assert_eq!(admit(&mut queue, 4, 30.0), Admission::Queued);
    assert_eq!(admit(&mut queue, 5, 40.0), Admission::Full(NoRoom::Jobs(3)));
    assert_eq!(queue.next_at(), Some(at(10.0)));
    assert_eq!(queue.advance(at(10.0)), [0; 0], "the place is taken");
    assert_eq!(queue.release(&"a", None, noon), [3]);
    assert!(queue.withdraw(&later(20.0), &"a", &2));
    assert_eq!(queue.release(&"a", None, noon), [0; 0]);
    assert_eq!(queue.advance(at(29.9)), [0; 0]);
    assert_eq!(queue.advance(at(31.0)), [4]);
    assert_eq!((queue.next_at(), queue.queued()), (None, 0));
}

/// What is held waits for a word and, where it has one, for its time.
#[test]
fn what_is_held_is_let_go() {
    let mut queue = queue(10, 10, 10);
    let held = Terms {
        held: true,
        ..Terms::default()
    };
    let until = Terms {
        not_before: Some(at(5.0)),
        ..held.clone()
    };
    for (job, terms) in [(1, &held), (2, &until), (3, &until)] {
        assert_eq!(
            queue.admit_on(terms, &"a", job, 1, noon()),
            Admission::Queued
        );
    }
    assert_eq!(queue.let_go(&1, noon()), [1]);
    assert_eq!(queue.let_go(&1, noon()), [0; 0]);
    assert_eq!(queue.let_go(&2, noon()), [0; 0]);
    assert_eq!(queue.advance(at(5.0)), [2]);
    assert_eq!(queue.next_at(), None);
    assert_eq!(queue.let_go(&3, at(6.0)), [3]);
}

/// A principal's own jobs that wait for a place go by priority.
#[test]
fn ones_own_jobs_wait_by_priority() {
    let mut queue = queue(1, 10, 10);
    queue.admit(&"a", 0, 1);
    queue.admit(&"a", 1, 1);
    let high = Terms {
        priority: 1,
        ..Terms::default()
    };
    queue.admit_on(&high, &"a", 2, 1, noon());
    queue.admit_on(&high, &"a", 3, 1, noon());
    for job in [2, 3, 1] {
        assert_eq!(queue.release(&"a", None, noon), [job]);
    }
}

#[test]
fn rates_and_pointers_are_read() {
    for (text, starts, seconds) in [("10/s", 10, 1), ("1/m", 1, 60), ("100 / h", 100, 3600)] {
        let rate: Rate = text.parse().unwrap();
        assert_eq!((rate.starts, rate.per.as_secs()), (starts, seconds));
    }
    for wrong in ["", "10", "0/s", "-1/s", "1.5/s", "5/d", "1000000/s"] {
        assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
    }
    for (text, good) in [
        ("", true),
        ("/", true),
        ("/a/0", true),
        ("/a~1b~0", true),
        ("a", false),
        ("/a~2", false),
        ("/~", false),
    ] {
        assert_eq!(text.parse::<Pointer>().is_ok(), good, "{text}");
    }
}
