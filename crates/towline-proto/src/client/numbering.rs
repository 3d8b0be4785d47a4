//! What the numbers of a session's stream say: next, seen before, or something is missing (§8.3).

use towline_wire::EventSeq;

/// Watches `event_seq` of one session, across its connections [ARCP 8-3].
///
/// Ask [`Numbering::judge`] for every numbered envelope, in the order they came. A gap is reported once and heals by a
/// resume from [`Numbering::last`]. If the same gap is there again after the resume, the peer no longer has what is
/// missing; then it is passed over, because asking forever would never deliver anything.
#[derive(Debug, Clone)]
pub(super) struct Numbering {
    last: EventSeq,
    /// The gap before which the last resume was asked for.
    reported: Option<EventSeq>,
    /// Whether events of subscriptions have numbers of their own (a dialect).
    subscriptions_apart: bool,
}

/// Whose numbers a job's events carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The session's own job.
    Own,
    /// A job the session watches.
    Watched,
    /// Both.
    OwnAndWatched,
}

/// Which of a peer's streams an event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// The session's; the only one in the draft.
    Session,
    /// That of its subscriptions, where a dialect numbers them apart.
    Subscription,
    /// The same, of a job that is in the session's stream too: the event comes twice.
    Echo,
}

/// What a number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the next one.
    Fresh(Lane),
    /// It was seen before: drop the event.
    Duplicate,
    /// Something is missing before it: drop the event and resume from the last good one.
    Gap {
        /// The number that should have come.
        expected: EventSeq,
    },
    /// Something is missing for good; the event is the first after it.
    Skipped {
        /// The first number that is missing.
        missing: EventSeq,
    },
}

impl Numbering {
    /// A session of which everything up to `last` was seen.
    pub(super) const fn after(last: EventSeq) -> Self {
        Self {
            last,
            reported: None,
            subscriptions_apart: false,
        }
    }

    /// Follows a peer that numbers subscriptions apart.
    pub(super) const fn number_subscriptions_apart(&mut self, apart: bool) {
        self.subscriptions_apart = apart;
    }

    /// The last number seen without a gap: where a resume begins.
    pub(super) const fn last(&self) -> EventSeq {
        self.last
    }

    /// Judges the number of an event of a job.
    pub(super) fn judge(&mut self, seq: EventSeq, origin: Origin) -> Verdict {
        if let Some(lane) = self.lane_apart(seq, origin) {
            return Verdict::Fresh(lane);
        }
        let expected = self.last.next();
        if seq < expected {
            return Verdict::Duplicate;
        }
        if seq == expected {
            self.last = seq;
            return Verdict::Fresh(Lane::Session);
        }
        if self.reported == Some(expected) {
            self.last = seq;
            self.reported = None;
            return Verdict::Skipped { missing: expected };
        }
        self.reported = Some(expected);
        Verdict::Gap { expected }
    }

    /// Subscriptions' own numbers are not checked: they begin anew whenever the peer likes.
    fn lane_apart(&self, seq: EventSeq, origin: Origin) -> Option<Lane> {
        match origin {
            _ if !self.subscriptions_apart => None,
            Origin::Watched => Some(Lane::Subscription),
            Origin::OwnAndWatched if seq != self.last.next() => Some(Lane::Echo),
            Origin::Own | Origin::OwnAndWatched => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(numbering: &mut Numbering, seq: u64) -> Verdict {
        numbering.judge(EventSeq::new(seq), Origin::Own)
    }

    /// [ARCP 8-4] the client detects a gap and asks again from the last good number.
    #[test]
    fn a_gap_is_reported_and_heals() {
        let mut numbering = Numbering::after(EventSeq::ZERO);
        assert_eq!(judged(&mut numbering, 1), Verdict::Fresh(Lane::Session));
        assert_eq!(
            judged(&mut numbering, 3),
            Verdict::Gap {
                expected: EventSeq::new(2)
            }
        );
        assert_eq!(
            numbering.last(),
            EventSeq::new(1),
            "a resume asks for what is missing"
        );
        assert_eq!(judged(&mut numbering, 2), Verdict::Fresh(Lane::Session));
        assert_eq!(judged(&mut numbering, 3), Verdict::Fresh(Lane::Session));
        assert_eq!(judged(&mut numbering, 2), Verdict::Duplicate);
    }

    #[test]
    fn a_gap_that_a_resume_does_not_heal_is_passed_over_once() {
        let mut numbering = Numbering::after(EventSeq::new(4));
        assert_eq!(
            judged(&mut numbering, 7),
            Verdict::Gap {
                expected: EventSeq::new(5)
            }
        );
        assert_eq!(
            judged(&mut numbering, 7),
            Verdict::Skipped {
                missing: EventSeq::new(5)
            }
        );
        assert_eq!(judged(&mut numbering, 8), Verdict::Fresh(Lane::Session));
        assert_eq!(
            judged(&mut numbering, 10),
            Verdict::Gap {
                expected: EventSeq::new(9)
            }
        );
    }

    #[test]
    fn subscriptions_numbered_apart_do_not_disturb_the_session() {
        let mut numbering = Numbering::after(EventSeq::new(4));
        numbering.number_subscriptions_apart(true);
        let table = [
            (1, Origin::Watched, Verdict::Fresh(Lane::Subscription)),
            (5, Origin::OwnAndWatched, Verdict::Fresh(Lane::Session)),
            (2, Origin::OwnAndWatched, Verdict::Fresh(Lane::Echo)),
            (6, Origin::Own, Verdict::Fresh(Lane::Session)),
            (6, Origin::Own, Verdict::Duplicate),
        ];
        for (seq, origin, expected) in table {
            assert_eq!(
                numbering.judge(EventSeq::new(seq), origin),
                expected,
                "{seq} {origin:?}"
            );
        }
    }
}
