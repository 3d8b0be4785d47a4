//! Slowing down those who guess [ARCP 14-2].

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    net::SocketAddr,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Network;

/// Delays what is said to those who guess.
///
/// A token is verified at once, so a good one never waits. When it was wrong, ask [`AuthLimiter::refused`] what becomes of
/// the refusal: ten within a minute are told at once, each further one waits, first half a second, then twice as long with
/// every failure, five seconds at most. While one waits, others from that address are not told at all but closed
/// ([`Penalty::Close`]), and so is everybody while 256 wait in all: connections of guessers are not kept.
///
/// Addresses are told apart as [`Network`]s. Peers without an address (stdio, memory) are never delayed. At most 4096 are
/// remembered; beyond that the one whose last failure is longest ago is forgotten, so somebody with thousands of addresses
/// buys ten tries with each, as before.
pub struct AuthLimiter {
    limits: Limits,
    state: Mutex<State>,
}

/// What becomes of a refusal.
#[derive(Debug)]
pub enum Penalty<'l> {
    /// It is told at once.
    None,
    /// It is told after this time. Keep the [`Pending`] until then, also when the peer is gone.
    Wait(Duration, Pending<'l>),
    /// It is not told: close the connection, with 1013 where there are codes.
    Close,
}

/// A refusal that waits to be told. Dropping it lets the next one of that address wait.
#[derive(Debug)]
pub struct Pending<'l> {
    limiter: &'l AuthLimiter,
    network: Network,
    /// How many refusals of this address were not told since the last one that was.
    pub untold: u32,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.limiter.state.lock().pending.remove(&self.network);
    }
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    failures: usize,
    window: Duration,
    first_delay: Duration,
    longest_delay: Duration,
    addresses: usize,
    pending: usize,
}

#[derive(Default)]
struct State {
    offenders: HashMap<Network, Offender>,
    /// Where a refusal waits to be told; never more than the limit.
    pending: HashSet<Network>,
    /// Orders failures, also those of one instant.
    ticks: u64,
}

struct Offender {
    /// When the last failures were, oldest first; never more than the limit.
    recent: VecDeque<Instant>,
    /// How many failures came while the limit was already reached.
    excess: u32,
    /// How many refusals were not told since the last one that was.
    untold: u32,
    last_tick: u64,
}

impl AuthLimiter {
    /// Ten failures a minute, then delays of 0.5 s to 5 s, for at most 4096 addresses.
    pub fn new() -> Self {
        let limits = Limits {
            failures: 10,
            window: Duration::from_secs(60),
            first_delay: Duration::from_millis(500),
            longest_delay: Duration::from_secs(5),
            addresses: 4096,
            pending: 256,
        };
        Self {
            limits,
            state: Mutex::default(),
        }
    }

    /// Sets how many failures within a minute are free. Default: 10, at least 1.
    #[must_use]
    pub fn free_failures(mut self, failures: usize) -> Self {
        self.limits.failures = failures.max(1);
        self
    }

    /// Sets the longest delay. Default: 5 s.
    #[must_use]
    pub fn longest_delay(mut self, delay: Duration) -> Self {
        self.limits.longest_delay = delay;
        self
    }

    /// Sets how many addresses are remembered, at some 300 bytes each. Default: 4096.
    #[must_use]
    pub fn remembered_addresses(mut self, addresses: usize) -> Self {
        self.limits.addresses = addresses.max(1);
        self
    }

    /// A token from `peer` was refused. What becomes of the refusal?
    pub fn refused(&self, peer: Option<SocketAddr>, now: Instant) -> Penalty<'_> {
        let Some(network) = Network::of(peer) else {
            return Penalty::None;
        };
        let state = &mut *self.state.lock();
        let offender = state.failed(network, now, &self.limits);
        let Some(delay) = offender.delay else {
            return Penalty::None;
        };
        if state.pending.len() >= self.limits.pending || !state.pending.insert(network) {
            state.untold(network, offender.untold.saturating_add(1));
            return Penalty::Close;
        }
        Penalty::Wait(
            delay,
            Pending {
                limiter: self,
                network,
                untold: offender.untold,
            },
        )
    }

    /// A token from `peer` was good: its delay is the shortest again. Its failures stay counted, or one good token
    /// would buy any number of guesses.
    pub fn succeeded(&self, peer: Option<SocketAddr>) {
        let Some(network) = Network::of(peer) else {
            return;
        };
        if let Some(offender) = self.state.lock().offenders.get_mut(&network) {
            offender.excess = 0;
        }
    }
}

impl Default for AuthLimiter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for AuthLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.state.lock().offenders.len();
        f.debug_struct("AuthLimiter")
            .field("limits", &self.limits)
            .field("addresses", &addresses)
            .finish()
    }
}

impl State {
    fn failed(&mut self, network: Network, now: Instant, limits: &Limits) -> Failed {
        if !self.offenders.contains_key(&network) {
            self.make_room(now, limits);
        }
        self.ticks += 1;
        let fresh = || Offender {
            recent: VecDeque::new(),
            excess: 0,
            untold: 0,
            last_tick: 0,
        };
        let is_pending = self.pending.contains(&network);
        let offender = self.offenders.entry(network).or_insert_with(fresh);
        offender.last_tick = self.ticks;
        let delay = offender.failed(now, limits);
        // What is not told now stays to be told of.
        let untold = if is_pending {
            0
        } else {
            std::mem::take(&mut offender.untold)
        };
        Failed { delay, untold }
    }

    /// So many refusals of `network` are not told.
    fn untold(&mut self, network: Network, count: u32) {
        if let Some(offender) = self.offenders.get_mut(&network) {
            offender.untold = offender.untold.saturating_add(count);
        }
    }

    fn make_room(&mut self, now: Instant, limits: &Limits) {
        if self.offenders.len() < limits.addresses {
            return;
        }
        self.offenders
            .retain(|_, offender| offender.is_recent(now, limits));
        while self.offenders.len() >= limits.addresses {
            let oldest = self
                .offenders
                .iter()
                .min_by_key(|(_, offender)| offender.last_tick);
            let Some(network) = oldest.map(|(network, _)| *network) else {
                return;
            };
            self.offenders.remove(&network);
        }
    }
}

/// What a failure is followed by.
struct Failed {
    delay: Option<Duration>,
    untold: u32,
}

impl Offender {
    /// Counts a failure; how long its refusal waits.
    fn failed(&mut self, now: Instant, limits: &Limits) -> Option<Duration> {
        self.forget_old(now, limits);
        let mut delay = None;
        if self.recent.len() >= limits.failures {
            let doubled = limits.first_delay.saturating_mul(1 << self.excess.min(16));
            delay = Some(doubled.min(limits.longest_delay));
            self.recent.pop_front();
            self.excess = self.excess.saturating_add(1);
        }
        self.recent.push_back(now);
        delay
    }

    fn forget_old(&mut self, now: Instant, limits: &Limits) {
        while self
            .recent
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= limits.window)
        {
            self.recent.pop_front();
            self.excess = 0;
        }
    }

    fn is_recent(&self, now: Instant, limits: &Limits) -> bool {
        self.recent
            .back()
            .is_some_and(|at| now.saturating_duration_since(*at) < limits.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Option<SocketAddr> {
        Some(SocketAddr::new(text.parse().unwrap(), 40_000))
    }

    /// How long each of some refusals at once and one after the other is to wait.
    fn refuse(
        limiter: &AuthLimiter,
        who: Option<SocketAddr>,
        times: usize,
        now: Instant,
    ) -> Vec<u128> {
        (0..times)
            .map(|_| delay(&limiter.refused(who, now)))
            .collect()
    }

    fn delay(penalty: &Penalty<'_>) -> u128 {
        match penalty {
            Penalty::None => 0,
            Penalty::Wait(delay, _) => delay.as_millis(),
            Penalty::Close => panic!("a refusal was not told"),
        }
    }

    /// [ARCP 14-2] Ten failures within a minute are told at once, the eleventh waits, and a minute later none does.
    #[test]
    fn the_eleventh_refusal_waits() {
        let (limiter, start, who) = (AuthLimiter::new(), Instant::now(), peer("192.0.2.1"));
        let at = |seconds| start + Duration::from_secs(seconds);
        for number in 0..10 {
            assert_eq!(refuse(&limiter, who, 1, at(5 * number)), [0], "{number}");
        }
        assert_eq!(refuse(&limiter, who, 1, at(45)), [500]);
        assert_eq!(refuse(&limiter, who, 1, at(106)), [0]);
    }

    /// [ARCP 14-2] The delay doubles with each failure up to a bound.
    #[test]
    fn the_delay_grows_to_a_bound() {
        let (limiter, now, who) = (AuthLimiter::new(), Instant::now(), peer("192.0.2.1"));
        refuse(&limiter, who, 10, now);
        let delays = refuse(&limiter, who, 6, now);
        assert_eq!(delays, [500, 1000, 2000, 4000, 5000, 5000]);
    }

    /// [ARCP 14-2] A good token takes the delay back to its start, but buys no free guesses.
    #[test]
    fn a_good_token_does_not_clear_the_failures() {
        let (limiter, now, who) = (AuthLimiter::new(), Instant::now(), peer("192.0.2.1"));
        refuse(&limiter, who, 15, now);
        limiter.succeeded(who);
        assert_eq!(refuse(&limiter, who, 1, now), [500]);
    }

    /// [ARCP 14-2] One refusal of an address waits at a time, the others are closed and counted; so is everybody's when too
    /// many wait. Other addresses are not concerned.
    #[test]
    fn one_refusal_of_an_address_waits() {
        let mut limiter = AuthLimiter::new().free_failures(1);
        limiter.limits.pending = 2;
        let now = Instant::now();
        let [one, two, three] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(peer);
        for who in [one, two, three] {
            assert_eq!(refuse(&limiter, who, 1, now), [0]);
        }
        let first = limiter.refused(one, now);
        assert!(matches!(first, Penalty::Wait(..)));
        for _ in 0..5 {
            assert!(matches!(limiter.refused(one, now), Penalty::Close));
        }
        let second = limiter.refused(two, now);
        assert!(matches!(second, Penalty::Wait(..)));
        assert!(matches!(limiter.refused(three, now), Penalty::Close));
        drop(first);
        let third = limiter.refused(three, now);
        assert!(matches!(third, Penalty::Wait(..)));
        drop(second);
        let Penalty::Wait(_, pending) = limiter.refused(one, now) else {
            panic!("nothing waits for this address any more");
        };
        assert_eq!(pending.untold, 5);
    }

    /// [ARCP 14-2] Failures count per network.
    #[test]
    fn networks_are_told_apart() {
        let (limiter, now) = (AuthLimiter::new(), Instant::now());
        refuse(&limiter, peer("192.0.2.1"), 10, now);
        refuse(&limiter, peer("2001:db8:1:2::1"), 10, now);
        for (address, expected) in [
            ("::ffff:192.0.2.1", 500),
            ("192.0.2.2", 0),
            ("2001:db8:1:2:ffff::9", 500),
            ("2001:db8:1:3::1", 0),
        ] {
            assert_eq!(
                refuse(&limiter, peer(address), 1, now),
                [expected],
                "{address}"
            );
        }
    }

    #[test]
    fn peers_without_an_address_are_not_delayed() {
        let (limiter, now) = (AuthLimiter::new(), Instant::now());
        assert_eq!(refuse(&limiter, None, 100, now), [0; 100]);
    }

    /// [ARCP 14-2] Memory is bounded: whoever failed longest ago is forgotten first, those past the window before that.
    #[test]
    fn memory_is_bounded() {
        let limiter = AuthLimiter::new().free_failures(1).remembered_addresses(3);
        let now = Instant::now();
        let address = |n: u8| peer(&format!("192.0.2.{n}"));
        for n in [1, 2, 3, 1, 4] {
            refuse(&limiter, address(n), 1, now);
        }
        let known = |n: u8| {
            let network = Network::of(address(n)).unwrap();
            limiter.state.lock().offenders.contains_key(&network)
        };
        assert_eq!([1, 2, 3, 4].map(known), [true, false, true, true]);
        refuse(&limiter, address(5), 1, now + Duration::from_secs(61));
        assert_eq!(limiter.state.lock().offenders.len(), 1);
    }
}
