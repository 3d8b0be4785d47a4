use towline_wire::MessageType;

use super::*;
use crate::{server::Goodbye, span::SpanView};

fn job() -> JobId {
    JobId::parse("job_1").unwrap()
}

/// A span of a job that a session sees alone: both numbers are the same.
fn span(first: u64, count: u32) -> Span {
    Span {
        first: EventSeq::new(first),
        job: job(),
        from: JobSeq::new(first),
        count,
        view: SpanView::default(),
    }
}

fn seq(value: u64) -> EventSeq {
    EventSeq::new(value)
}

/// A connection at the beginning of a stream with so many events.
struct Table {
    stream: Stream,
    cursor: Cursor,
    replies: Replies,
}

impl Table {
    fn with(events: u32) -> Self {
        let mut stream = Stream::new(Outbox::default());
        if events > 0 {
            stream.append(span(1, events), 64);
        }
        Self {
            stream,
            cursor: Cursor::new(EventSeq::ZERO),
            replies: Replies::default(),
        }
    }

    fn next(&mut self) -> Step {
        self.stream.next(&mut self.cursor, &mut self.replies)
    }

    /// The next step in short; what it sends counts as sent, and a flush as done.
    fn step(&mut self) -> String {
        match self.next() {
            Step::Urgent(envelope) => {
                self.cursor.fed();
                envelope.kind.to_string()
            }
            Step::Reply(reply) => {
                self.cursor.fed();
                reply
                    .envelope
                    .map_or("silence".to_owned(), |envelope| envelope.kind.to_string())
            }
            Step::Events(run) => {
                let last = run.first.plus(u64::from(run.count) - 1);
                self.stream.offer(last);
                self.cursor.fed();
                self.cursor.advance(last);
                format!("events to {last}")
            }
            Step::Evicted => "evicted".to_owned(),
            Step::Flush => {
                self.cursor.flushed();
                self.stream.flushed(self.cursor.position());
                "flush".to_owned()
            }
            Step::Rest => "rest".to_owned(),
            Step::Again => "again".to_owned(),
            Step::Goodbye(_) => "goodbye".to_owned(),
        }
    }

    /// Steps until there is nothing more to do.
    fn steps(&mut self) -> Vec<String> {
        let mut steps = Vec::new();
        let over = ["rest", "again", "goodbye", "evicted"];
        while !steps
            .last()
            .is_some_and(|step: &String| over.contains(&step.as_str()))
        {
            steps.push(self.step());
        }
        steps
    }

    fn close(&mut self, drain: bool) {
        self.replies.close(Farewell {
            last: Some(Envelope::new(MessageType::SESSION_CLOSED)),
            goodbye: Goodbye::Normal,
            reason: String::new(),
            drain,
        });
    }
}

fn accepted() -> Reply {
    Reply::announcing(Envelope::new(MessageType::JOB_ACCEPTED), job())
}

fn listed() -> Reply {
    Reply::plain(Envelope::new(MessageType::SESSION_JOBS))
}

/// [ARCP 5-11, 6.4-1] pongs overtake replies, replies overtake events.
#[test]
fn the_order_of_what_is_owed() {
    let mut table = Table::with(3);
    let place = table.replies.reserve();
    table.replies.fill(place, listed());
    table
        .replies
        .push_urgent(Envelope::new(MessageType::SESSION_PONG));
    assert_eq!(
        table.steps(),
        [
            "session.pong",
            "session.jobs",
            "events to 3",
            "flush",
            "rest"
        ]
    );
}

/// [ARCP 7.1-2, 8-3] events wait for the acceptance that has to come before them, and only for that.
#[test]
fn gates_hold_events_back() {
    let mut table = Table::with(3);
    let (first, second) = (table.replies.reserve(), table.replies.reserve());
    table.replies.fill(second, accepted());
    assert_eq!(table.steps(), ["rest"], "the first reply is not there");
    table.replies.fill(first, listed());
    assert_eq!(
        table.steps(),
        [
            "session.jobs",
            "job.accepted",
            "events to 3",
            "flush",
            "rest"
        ]
    );
    table.replies.reserve();
    table.stream.append(span(4, 1), 64);
    assert_eq!(table.steps(), ["events to 4", "flush", "rest"]);
}

/// [ARCP 6.7-1] a goodbye that drains waits for every reply, and for the events that were durable when they were out; what
/// comes later is left for a resume.
#[test]
fn a_goodbye_drains_what_is_owed() {
    let mut table = Table::with(2);
    let place = table.replies.reserve();
    table.close(true);
    assert_eq!(table.steps(), ["events to 2", "flush", "rest"]);
    table.replies.fill(place, accepted());
    table.stream.committed(&span(3, 2));
    assert_eq!(table.steps(), ["job.accepted", "flush", "again"]);
    table.stream.append(span(3, 2), 64);
    table.stream.append(span(5, 9), 64);
    let Step::Events(run) = table.next() else {
        panic!("the history is due")
    };
    assert_eq!(run.first, seq(3));
    table.cursor.advance(seq(4));
    assert_eq!(table.steps(), ["goodbye"]);
    assert!(table.replies.say_farewell().is_none(), "it is said once");
}

/// [ARCP 6.3-8, 6.4-1] a goodbye that cuts goes before replies and events, and behind nothing but pongs.
#[test]
fn a_goodbye_cuts() {
    let mut table = Table::with(2);
    let place = table.replies.reserve();
    table.replies.fill(place, listed());
    table.close(false);
    table
        .replies
        .push_urgent(Envelope::new(MessageType::SESSION_PONG));
    assert_eq!(table.steps(), ["session.pong", "goodbye"]);
}

/// [ARCP 6.5-2] a connection whose next event is gone is told, never given the one after.
#[test]
fn what_was_evicted_is_no_gap() {
    let mut table = Table::with(6);
    table.stream.evict(seq(6));
    assert_eq!(table.steps(), ["evicted"]);
}

/// [ARCP 6.3-5, 6.5-1] a peer may come back with, and acknowledge, what it may have seen, and nothing beyond that.
#[test]
fn positions_bound_what_a_peer_may_claim() {
    let mut stream = Stream::new(Outbox::default());
    stream.append(span(1, 10), 64);
    stream.offer(seq(6));
    stream.flushed(seq(4));
    let ahead = Err(ReplayError::Ahead {
        asked: seq(7),
        last: seq(6),
    });
    assert_eq!(
        (stream.may_resume(seq(6)), stream.may_resume(seq(7))),
        (Ok(()), ahead)
    );
    assert!(
        stream.acknowledge(seq(6)) && !stream.acknowledge(seq(7)) && !stream.acknowledge(seq(6))
    );
    stream.evict(seq(3));
    assert!(stream.may_resume(seq(3)).is_ok());
    assert_eq!(
        stream.may_resume(seq(2)),
        Err(ReplayError::Gone {
            asked: seq(2),
            oldest: seq(4)
        })
    );
}

/// [ARCP 6.5-3] the lag is the larger of what was sent and not acknowledged (once the peer acknowledges) and what could not
/// be sent (always).
#[test]
fn lag_is_the_larger_of_two() {
    // given out, sent, acknowledged, lag
    let table = [
        (10, 10, 0, 0),
        (10, 4, 0, 6),
        (10, 10, 3, 7),
        (10, 9, 8, 1),
        // It acknowledged, then stalled: nothing is sent any more, so nothing lacks an acknowledgement.
        (100, 8, 8, 92),
        (100, 90, 8, 82),
    ];
    for (last, sent, acked, lag) in table {
        let mut stream = Stream::new(Outbox::default());
        stream.append(span(1, last), 64);
        stream.flushed(seq(sent));
        assert_eq!(stream.acknowledge(seq(acked)), acked > 0);
        assert_eq!(stream.lag(), lag, "{last} {sent} {acked}");
    }
}

/// [ARCP 6.5-3] a session that is taken up without `ack` is not measured by what it acknowledged before.
#[test]
fn a_peer_that_acknowledges_no_more_is_not_measured_by_it() {
    let mut stream = Stream::new(Outbox::default());
    stream.append(span(1, 10), 64);
    stream.flushed(seq(10));
    stream.acknowledge(seq(2));
    assert_eq!(stream.lag(), 8);
    stream.taken_up(seq(2), false);
    assert_eq!(stream.lag(), 0);
}

/// [ARCP 6.5-3] pressure does what is drawn above it: every event in every phase.
#[test]
fn pressure_is_as_drawn() {
    crate::drawing::walk(include_str!("../stream.rs"), |phase, event| {
        let mut stream = Stream::new(Outbox::default());
        stream.append(span(1, 100), 64);
        stream.pressure = match phase {
            "Armed" => Pressure::Armed,
            "Reported" => Pressure::Reported,
            other => panic!("{other} is no phase"),
        };
        let lag = match event {
            "above" => 11,
            "between" => 5,
            "below" => 4,
            other => panic!("{other} is no event"),
        };
        stream.flushed(seq(100 - lag));
        let told = stream.pressure(10);
        assert_eq!(told.is_some(), phase == "Armed" && event == "above");
        format!("{:?}", stream.pressure)
    });
}

/// [ARCP 6.5-2] too many spans go by the eighth, so that it is not each event that evicts another.
#[test]
fn surplus_spans_go_by_the_eighth() {
    let mut stream = Stream::new(Outbox::default());
    let mut evicted = None;
    for number in 1..=17u64 {
        let other = Span {
            job: JobId::parse(&format!("job_{number}")).unwrap(),
            ..span(number, 1)
        };
        assert_eq!(evicted, None, "{number}");
        evicted = stream.append(other, 16);
    }
    assert_eq!(evicted, Some(seq(3)));
}

/// [ARCP 7.2-1] the number of a record is found while it is kept.
#[test]
fn a_record_has_its_old_number() {
    let mut stream = Stream::new(Outbox::default());
    stream.append(span(1, 3), 64);
    let other = Span {
        job: JobId::parse("job_2").unwrap(),
        from: JobSeq::new(7),
        ..span(4, 2)
    };
    stream.append(other.clone(), 64);
    assert_eq!(stream.number_of(&other.job, JobSeq::new(8)), Some(seq(5)));
    assert_eq!(stream.number_of(&other.job, JobSeq::new(9)), None);
    assert_eq!(stream.number_of(&job(), JobSeq::new(2)), Some(seq(2)));
    stream.evict(seq(2));
    assert_eq!(stream.number_of(&job(), JobSeq::new(2)), None);
    assert_eq!(stream.number_of(&job(), JobSeq::new(3)), Some(seq(3)));
}
