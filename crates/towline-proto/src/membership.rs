//! How one of several nodes on a store judges the others, and itself (§21).

use std::{collections::BTreeMap, time::Duration};

/// Says which members of a store are silent, and for how long this one may go on.
///
/// Each member counts up a number in the store, its *pulse*, and reads those of all others with the same call. Tell the machine
/// of each answer with [`Membership::answered`]; it gives those that have to be declared dead. What this member may do itself
/// says [`Pace::standing`], from nothing but when it asked for the latest pulse that was acknowledged.
///
/// Nobody's clock is compared with another's: a member is silent when its number stood still for as long as the
/// lease *by the clock of whoever looks*, and while that one's own pulses were acknowledged all the time, none of them late. A store
/// that takes no commits, or an observer that was stopped, makes nobody look dead.
///
/// Times are what a monotonic clock shows, counted from any fixed moment.
#[derive(Debug, Clone)]
pub struct Membership<N> {
    pace: Pace,
    others: BTreeMap<N, Seen>,
    /// Since when this member's own pulses have been acknowledged in time.
    steady_since: Duration,
    /// When the latest one was.
    answered: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    n: u64,
    since: Duration,
}

/// How long everything takes. It has to hold that `suspend` is less than `lease`: whoever is declared dead has stopped by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From one answer to the next pulse.
    pub every: Duration,
    /// A pulse that takes longer says nothing about others.
    pub slow: Duration,
    /// So long a number stands still before its member is declared dead.
    pub lease: Duration,
    /// So long after its latest acknowledged pulse a member permits nothing more.
    pub suspend: Duration,
    /// So long after it, it sends its clients away.
    pub leave: Duration,
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Everything.
    Sound,
    /// It may have been declared dead: nothing begins that the world would notice.
    Suspended,
    /// It has been cut off for so long that its clients do better elsewhere.
    Alone,
}

impl Pace {
    /// A pulse each second, six seconds of silence.
    pub const DEFAULT: Self = Self {
        every: Duration::from_secs(1),
        slow: Duration::from_secs(1),
        lease: Duration::from_secs(6),
        suspend: Duration::from_secs(4),
        leave: Duration::from_secs(15),
    };

    /// How a member stands whose latest acknowledged pulse was asked for so long ago.
    pub fn standing(&self, since: Duration) -> Standing {
        if since >= self.leave {
            Standing::Alone
        } else if since >= self.suspend {
            Standing::Suspended
        } else {
            Standing::Sound
        }
    }
}

impl<N: Ord + Clone> Membership<N> {
    /// A member that joined `now`.
    pub fn new(pace: Pace, now: Duration) -> Self {
        Self {
            pace,
            others: BTreeMap::new(),
            steady_since: now,
            answered: now,
        }
    }

    /// A pulse that was `asked` for then was acknowledged `now`, and told of the numbers of all others. Gives those that are to
    /// be declared dead, each with the number it has stood at.
    pub fn answered(
        &mut self,
        asked: Duration,
        now: Duration,
        others: impl IntoIterator<Item = (N, u64)>,
    ) -> Vec<(N, u64)> {
        let was_slow = now.saturating_sub(asked) > self.pace.slow;
        let was_away = asked.saturating_sub(self.answered) > self.pace.every + self.pace.slow;
        if was_slow || was_away {
            self.steady_since = now;
        }
        self.answered = now;
        let before = std::mem::take(&mut self.others);
        for (other, n) in others {
            let seen = before.get(&other).filter(|seen| seen.n == n);
            let seen = seen.copied().unwrap_or(Seen { n, since: now });
            self.others.insert(other, seen);
        }
        let is_silent = |seen: &Seen| {
            let watched = seen.since.max(self.steady_since);
            now.saturating_sub(watched) >= self.pace.lease
        };
        let silent = self.others.iter().filter(|(_, seen)| is_silent(seen));
        silent
            .map(|(other, seen)| (other.clone(), seen.n))
            .collect()
    }

    /// A pulse was not acknowledged: from here on nothing is known of others until one is.
    pub fn failed(&mut self, now: Duration) {
        self.steady_since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace::DEFAULT;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// One member that watches `a`, given when each pulse was asked for, when it was answered and what `a` was at. Says when
    /// `a` was first found silent.
    fn check(pulses: &[(u64, u64, u64)], silent: Option<u64>) {
        let mut membership = Membership::new(PACE, Duration::ZERO);
        let mut found = None;
        for (asked, answered, n) in pulses {
            let dead = membership.answered(at(*asked), at(*answered), [("a", *n)]);
            if !dead.is_empty() {
                assert_eq!(dead, [("a", *n)]);
                found = found.or(Some(*answered));
            }
        }
        assert_eq!(found, silent, "{pulses:?}");
    }

    fn each_second(seconds: std::ops::Range<u64>, n: u64) -> Vec<(u64, u64, u64)> {
        let pulse = |second| (second * 1000, second * 1000 + 10, n);
        seconds.map(pulse).collect()
    }

    #[test]
    fn a_number_that_stands_still_for_the_lease_is_silent() {
        check(&each_second(1..7, 5), None);
        check(&each_second(1..8, 5), Some(7_010));
        let moved = [each_second(1..7, 5), each_second(7..13, 6)].concat();
        check(&moved, None);
        check(&[moved, each_second(13..14, 6)].concat(), Some(13_010));
    }

    /// Nothing may restart because the store takes no commits: everybody's numbers stand still then.
    #[test]
    fn whoever_has_not_been_heard_itself_finds_nobody_silent() {
        let slow = vec![(7_000, 14_000, 5)];
        let after = each_second(15..20, 5);
        check(
            &[each_second(1..7, 5), slow.clone(), after.clone()].concat(),
            None,
        );
        let later = each_second(20..21, 5);
        check(
            &[each_second(1..7, 5), slow, after, later].concat(),
            Some(20_010),
        );
        // It was stopped between two pulses.
        check(
            &[each_second(1..4, 5), each_second(12..18, 5)].concat(),
            None,
        );
        let late = [each_second(1..4, 5), each_second(12..19, 5)].concat();
        check(&late, Some(18_010));
    }

    #[test]
    fn a_pulse_that_failed_counts_as_none() {
        let mut membership = Membership::new(PACE, Duration::ZERO);
        assert!(
            membership
                .answered(at(1000), at(1001), [("a", 1)])
                .is_empty()
        );
        for second in 2..6 {
            membership.failed(at(second * 1000));
        }
        for second in 6..12 {
            let now = at(second * 1000);
            assert!(membership.answered(now, now, [("a", 1)]).is_empty());
        }
        assert_eq!(
            membership.answered(at(12_000), at(12_000), [("a", 1)]),
            [("a", 1)]
        );
    }

    #[test]
    fn one_that_is_not_there_any_more_is_forgotten() {
        let mut membership = Membership::new(PACE, Duration::ZERO);
        for second in 1..7 {
            let now = at(second * 1000);
            let others = if second == 4 { vec![] } else { vec![("a", 1)] };
            assert!(membership.answered(now, now, others).is_empty());
        }
    }

    /// (a part of 21-8) a member stops by itself before anybody else may declare it dead.
    #[test]
    fn a_member_stops_before_it_can_be_declared_dead() {
        assert!(PACE.suspend + PACE.every <= PACE.lease);
        for (since, standing) in [
            (0, Standing::Sound),
            (3_999, Standing::Sound),
            (4_000, Standing::Suspended),
            (14_999, Standing::Suspended),
            (15_000, Standing::Alone),
        ] {
            assert_eq!(PACE.standing(at(since)), standing);
        }
    }
}
