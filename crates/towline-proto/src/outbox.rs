//! A session's stream as spans (§8.3, §6.3, §6.5).

use std::collections::VecDeque;

use towline_wire::{EventSeq, JobId, JobSeq};

use crate::span::{Span, SpanView};

/// The stream of one session: which records it gets under which numbers, and how far it has been acknowledged.
///
/// It grows by [`Outbox::push`] at the end and shrinks by [`Outbox::ack`] and [`Outbox::evict`] at the beginning; between
/// these, any number that was given out and is not gone can be read with [`Outbox::after`], as often as wanted. It holds
/// spans, never events, so its size is that of the interleaving.
///
/// What becomes of one number, `·` for "the same" (`push` gives it out; `below` stands for an acknowledgement or an eviction up
/// to the number before it, `unsent` for an acknowledgement beyond what was sent, which counts as none). What is `Kept` or
/// `Acked` can be replayed, and what is `Kept` counts as lag:
///
/// ```text
///        │ push ack   unsent evict below
/// ───────┼──────────────────────────────
/// Unborn │ Kept ·     ·      ·     ·
/// Kept   │ ·    Acked ·      Gone  ·
/// Acked  │ ·    ·     ·      Gone  ·
/// Gone   │ ·    ·     ·      ·     ·
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outbox {
    spans: VecDeque<Span>,
    last: EventSeq,
    acked: EventSeq,
    evicted: EventSeq,
}

/// Consecutive events of a stream that are consecutive records of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The first event's number.
    pub first: EventSeq,
    /// The job.
    pub job: JobId,
    /// The first record's place in the job's log.
    pub from: JobSeq,
    /// How many; never 0.
    pub count: u32,
    /// How they are shown.
    pub view: SpanView,
}

/// Why a stream cannot be replayed from a number [ARCP 6.3-5].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The number was never given out.
    #[error(
        "`last_event_seq` {asked} was never sent; the last event is {last}, as after a restore from a backup: open a new session, \
         and subscribe with history to the jobs that are still here"
    )]
    Ahead {
        /// What the peer claims to have.
        asked: EventSeq,
        /// What it can have at most.
        last: EventSeq,
    },
    /// Events after it are gone.
    #[error("events after {asked} are no longer kept; the oldest kept one is {oldest}")]
    Gone {
        /// What the peer has.
        asked: EventSeq,
        /// What it would have to have.
        oldest: EventSeq,
    },
}

impl Outbox {
    /// Puts a stream together again from what a store kept.
    pub fn restore(spans: Vec<Span>, last: EventSeq, acked: EventSeq, evicted: EventSeq) -> Self {
        Self {
            spans: spans.into(),
            last,
            acked,
            evicted,
        }
    }

    /// The last number given out.
    pub fn last(&self) -> EventSeq {
        self.last
    }

    /// The highest number acknowledged.
    pub fn acked(&self) -> EventSeq {
        self.acked
    }

    /// The highest number that cannot be replayed.
    pub fn evicted(&self) -> EventSeq {
        self.evicted
    }

    /// How many spans are kept.
    pub fn spans(&self) -> usize {
        self.spans.len()
    }

    /// The jobs whose logs the stream still needs.
    pub fn jobs(&self) -> impl Iterator<Item = &JobId> {
        self.spans
            .iter()
            .filter(|span| span.last() > self.acked)
            .map(|span| &span.job)
    }

    /// Events given out and not acknowledged.
    pub fn lag(&self) -> u64 {
        self.last.since(self.acked)
    }

    /// Adds to the end. A span that does not begin with the next number is a fault of the caller and is refused.
    pub fn push(&mut self, span: Span) -> bool {
        if span.count == 0 || span.first != self.last.next() {
            return false;
        }
        self.last = span.last();
        let absorbed = self.spans.back_mut().is_some_and(|back| back.absorb(&span));
        if !absorbed {
            self.spans.push_back(span);
        }
        true
    }

    /// The events after `position`, up to the end of their span; `None` when there are none (yet), or when they are gone.
    pub fn after(&self, position: EventSeq) -> Option<Run> {
        let wanted = position.next();
        let at = self.spans.partition_point(|span| span.last() < wanted);
        let span = self.spans.get(at).filter(|span| span.first <= wanted)?;
        let skipped = wanted.since(span.first);
        Some(Run {
            first: wanted,
            job: span.job.clone(),
            from: span.from.plus(skipped),
            count: span.count - u32::try_from(skipped).unwrap_or(span.count),
            view: span.view,
        })
    }

    /// Whether everything after `position` can be replayed [ARCP 6.3-5].
    ///
    /// # Errors
    /// [`ReplayError`] says why not.
    pub fn check_replay(&self, position: EventSeq) -> Result<(), ReplayError> {
        if position > self.last {
            return Err(ReplayError::Ahead {
                asked: position,
                last: self.last,
            });
        }
        if position < self.evicted {
            return Err(ReplayError::Gone {
                asked: position,
                oldest: self.evicted.next(),
            });
        }
        Ok(())
    }

    /// Takes an acknowledgement; `false` when it says nothing new or is above what was `sent`, and is ignored
    /// [ARCP 6.5-1].
    pub fn ack(&mut self, up_to: EventSeq, sent: EventSeq) -> bool {
        let news = up_to > self.acked && up_to <= sent.min(self.last);
        if news {
            self.acked = up_to;
        }
        news
    }

    /// Forgets events up to and including `up_to`, whether acknowledged or not. A later resume from before it is refused,
    /// never gapped [ARCP 6.5-2].
    pub fn evict(&mut self, up_to: EventSeq) {
        self.evicted = self.evicted.max(up_to.min(self.last));
        while self
            .spans
            .front()
            .is_some_and(|span| span.last() <= self.evicted)
        {
            self.spans.pop_front();
        }
    }

    /// The number up to which spans have to go so that at most `keep` stay; `None` when there are no more than that.
    pub fn overflow(&self, keep: usize) -> Option<EventSeq> {
        let surplus = self
            .spans
            .len()
            .checked_sub(keep)
            .filter(|surplus| *surplus > 0)?;
        self.spans.get(surplus - 1).map(Span::last)
    }

    /// The first number under which a record of a job is kept.
    pub fn number_of(&self, job: &JobId, seq: JobSeq) -> Option<EventSeq> {
        let holds = |span: &&Span| {
            span.job == *job
                && span.from <= seq
                && seq.since(span.from) < u64::from(span.count)
                && span.last() > self.evicted
        };
        let span = self.spans.iter().find(holds)?;
        Some(span.first.plus(seq.since(span.from))).filter(|number| *number > self.evicted)
    }

    /// The last number whose record is in `job` at or before `up_to`: what has to be evicted when the log loses that.
    pub fn last_of(&self, job: &JobId, up_to: JobSeq) -> Option<EventSeq> {
        let span = self
            .spans
            .iter()
            .rev()
            .find(|span| span.job == *job && span.from <= up_to)?;
        let within = up_to.since(span.from).min(u64::from(span.count) - 1);
        Some(span.first.plus(within))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn job(number: u8) -> JobId {
        JobId::parse(&format!("job_{number}")).unwrap()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push { job: u8, count: u32 },
        Ack(u64),
        Evict(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u8..3, 1u32..6).prop_map(|(job, count)| Step::Push { job, count }),
            1 => (0u64..60).prop_map(Step::Ack),
            1 => (0u64..60).prop_map(Step::Evict),
        ]
    }

    proptest! {
        /// [ARCP 8-3, 6.3-3] the stream against a plain list of events: numbers are strictly +1 from 1, and a replay from
        /// any number still kept gives exactly the events after it.
        #[test]
        fn an_outbox_is_a_list(steps in prop::collection::vec(step(), 1..60)) {
            let mut outbox = Outbox::default();
            let mut list: Vec<(u8, u64)> = Vec::new();
            let mut logs = [0u64; 3];
            let (mut acked, mut evicted) = (0, 0);
            for step in steps {
                match step {
                    Step::Push { job: number, count } => {
                        let log = &mut logs[usize::from(number)];
                        let span = Span {
                            first: outbox.last().next(), job: job(number), from: JobSeq::new(*log + 1), count,
                            view: SpanView::default(),
                        };
                        prop_assert!(outbox.push(span));
                        for _ in 0..count {
                            *log += 1;
                            list.push((number, *log));
                        }
                    }
                    Step::Ack(seq) => {
                        let taken = outbox.ack(EventSeq::new(seq), outbox.last());
                        prop_assert_eq!(taken, seq > acked && seq <= list.len() as u64);
                        if taken { acked = seq; }
                    }
                    Step::Evict(seq) => {
                        outbox.evict(EventSeq::new(seq));
                        evicted = evicted.max(seq.min(list.len() as u64));
                    }
                }
                prop_assert_eq!(outbox.last().value(), list.len() as u64);
                prop_assert_eq!(outbox.lag(), list.len() as u64 - acked);
            }
            for position in 0..=list.len() as u64 + 1 {
                let expected_error = position > list.len() as u64 || position < evicted;
                prop_assert_eq!(outbox.check_replay(EventSeq::new(position)).is_err(), expected_error);
                if expected_error { continue; }
                let mut at = EventSeq::new(position);
                let mut replayed = Vec::new();
                while let Some(run) = outbox.after(at) {
                    prop_assert_eq!(run.first, at.next());
                    for offset in 0..u64::from(run.count) {
                        let number = run.job.as_str().as_bytes()[4] - b'0';
                        replayed.push((number, run.from.value() + offset));
                    }
                    at = at.plus(u64::from(run.count));
                }
                prop_assert_eq!(&replayed[..], &list[position as usize..]);
            }
        }
    }

    /// The third number of a stream, through everything that can happen to it.
    #[test]
    fn an_outbox_is_as_drawn() {
        let third = EventSeq::new(3);
        crate::drawing::walk(include_str!("outbox.rs"), |phase, event| {
            let mut outbox = Outbox::default();
            let way: &[&str] = match phase {
                "Unborn" => &["begin"],
                "Kept" => &["begin", "push"],
                "Acked" => &["begin", "push", "ack"],
                "Gone" => &["begin", "push", "evict"],
                other => panic!("{other} is no phase"),
            };
            for event in way {
                happen(&mut outbox, event, third);
            }
            assert_eq!(phase_of(&outbox, third), phase, "the way to the phase");
            happen(&mut outbox, event, third);
            phase_of(&outbox, third).to_owned()
        });
    }

    fn happen(outbox: &mut Outbox, event: &str, number: EventSeq) {
        let before = EventSeq::new(number.value() - 1);
        match event {
            "begin" | "push" => assert!(outbox.push(span(outbox.last(), 2))),
            "ack" => drop(outbox.ack(number, outbox.last())),
            "unsent" => assert!(!outbox.ack(number, before)),
            "evict" => outbox.evict(number),
            "below" => {
                outbox.ack(before, outbox.last());
                outbox.evict(before);
            }
            other => panic!("{other} is no event"),
        }
    }

    fn span(last: EventSeq, count: u32) -> Span {
        Span {
            first: last.next(),
            job: job(1),
            from: JobSeq::new(last.value() + 1),
            count,
            view: SpanView::default(),
        }
    }

    /// By what can be asked of it: whether the number was given out, can be replayed, counts as lag.
    fn phase_of(outbox: &Outbox, number: EventSeq) -> &'static str {
        let before = EventSeq::new(number.value() - 1);
        let is_read = outbox.after(before).is_some_and(|run| run.first == number);
        match outbox.check_replay(before) {
            Err(ReplayError::Gone { .. }) => "Gone",
            _ if number > outbox.last() => "Unborn",
            _ => {
                assert!(is_read, "what can be replayed can be read");
                let is_lag = outbox.lag() > outbox.last().since(number);
                if is_lag { "Kept" } else { "Acked" }
            }
        }
    }

    /// [ARCP 6.5-1] an acknowledgement below an earlier one, or above what was sent, changes nothing.
    #[test]
    fn odd_acknowledgements_are_ignored() {
        let mut outbox = Outbox::default();
        outbox.push(Span {
            first: EventSeq::FIRST,
            job: job(1),
            from: JobSeq::FIRST,
            count: 10,
            view: SpanView::default(),
        });
        assert!(outbox.ack(EventSeq::new(5), EventSeq::new(7)));
        assert!(!outbox.ack(EventSeq::new(4), EventSeq::new(7)));
        assert!(!outbox.ack(EventSeq::new(8), EventSeq::new(7)));
        assert_eq!(outbox.acked(), EventSeq::new(5));
    }

    #[test]
    fn a_span_out_of_order_is_refused() {
        let mut outbox = Outbox::default();
        let span = Span {
            first: EventSeq::new(2),
            job: job(1),
            from: JobSeq::FIRST,
            count: 1,
            view: SpanView::default(),
        };
        assert!(!outbox.push(span));
    }

    #[test]
    fn overflow_names_what_has_to_go() {
        let mut outbox = Outbox::default();
        for number in 0..4u8 {
            let first = outbox.last().next();
            outbox.push(Span {
                first,
                job: job(number % 2),
                from: JobSeq::new(u64::from(number) + 1),
                count: 2,
                view: SpanView::default(),
            });
        }
        assert_eq!(outbox.overflow(4), None);
        assert_eq!(outbox.overflow(1), Some(EventSeq::new(6)));
        outbox.evict(EventSeq::new(6));
        assert_eq!(outbox.spans(), 1);
        assert_eq!(
            outbox.last_of(&job(1), JobSeq::new(4)),
            Some(EventSeq::new(7))
        );
    }
}
