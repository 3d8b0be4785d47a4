//! Slowing down those who guess [ARCP 14-2].

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Delays authentication for addresses that failed too often.
///
/// Before a token is looked at, wait [`AuthLimiter::delay_before`]; afterwards say how it went with
/// [`AuthLimiter::failed`] or [`AuthLimiter::succeeded`]. After ten failures within a minute each further try from that
/// address waits, first half a second, then twice as long with every failure, five seconds at most. That is below the
/// deadline of a hello, so a good token is late but never refused.
///
/// Addresses are told apart as IPv4 hosts and IPv6 networks of 64 bits, which is what one customer gets. Peers without
/// an address (stdio, memory) are never delayed. At most 4096 addresses are remembered; beyond that the one whose last
/// failure is longest ago is forgotten, so somebody with thousands of addresses buys ten tries with each, as before.
pub struct AuthLimiter {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    failures: usize,
    window: Duration,
    first_delay: Duration,
    longest_delay: Duration,
    addresses: usize,
}

#[derive(Default)]
struct State {
    offenders: HashMap<Network, Offender>,
    /// Orders failures, also those of one instant.
    ticks: u64,
}

/// What counts as one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Network(IpAddr);

struct Offender {
    /// When the last failures were, oldest first; never more than the limit.
    recent: VecDeque<Instant>,
    /// How many failures came while the limit was already reached.
    excess: u32,
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

    /// Sets the longest delay. Default: 5 s. Above the hello's deadline (10 s) good tokens would be refused after all.
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

    /// How long to wait before looking at a token from `peer`; zero for nearly everybody.
    pub fn delay_before(&self, peer: Option<SocketAddr>, now: Instant) -> Duration {
        let Some(network) = Network::of(peer) else {
            return Duration::ZERO;
        };
        let mut state = self.state.lock();
        let offender = state.offenders.get_mut(&network);
        offender.map_or(Duration::ZERO, |offender| offender.delay(now, &self.limits))
    }

    /// A token from `peer` was refused.
    pub fn failed(&self, peer: Option<SocketAddr>, now: Instant) {
        let Some(network) = Network::of(peer) else {
            return;
        };
        self.state.lock().failed(network, now, &self.limits);
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

impl Network {
    fn of(peer: Option<SocketAddr>) -> Option<Self> {
        let address = match peer?.ip().to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & (u128::MAX << 64);
                IpAddr::V6(Ipv6Addr::from(network))
            }
            v4 => v4,
        };
        Some(Self(address))
    }
}

impl State {
    fn failed(&mut self, network: Network, now: Instant, limits: &Limits) {
        if !self.offenders.contains_key(&network) {
            self.make_room(now, limits);
        }
        self.ticks += 1;
        let fresh = || Offender {
            recent: VecDeque::new(),
            excess: 0,
            last_tick: 0,
        };
        let offender = self.offenders.entry(network).or_insert_with(fresh);
        offender.last_tick = self.ticks;
        offender.failed(now, limits);
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

impl Offender {
    fn delay(&mut self, now: Instant, limits: &Limits) -> Duration {
        self.forget_old(now, limits);
        if self.recent.len() < limits.failures {
            return Duration::ZERO;
        }
        let doubled = limits.first_delay.saturating_mul(1 << self.excess.min(16));
        doubled.min(limits.longest_delay)
    }

    fn failed(&mut self, now: Instant, limits: &Limits) {
        self.forget_old(now, limits);
        if self.recent.len() >= limits.failures {
            self.recent.pop_front();
            self.excess = self.excess.saturating_add(1);
        }
        self.recent.push_back(now);
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

    fn fail(limiter: &AuthLimiter, who: Option<SocketAddr>, times: usize, now: Instant) {
        (0..times).for_each(|_| limiter.failed(who, now));
    }

    const NONE: Duration = Duration::ZERO;
    const HALF: Duration = Duration::from_millis(500);

    /// [ARCP 14-2] Ten failures within a minute are free, the eleventh try waits, and a minute later none does.
    #[test]
    fn the_eleventh_try_waits() {
        let (limiter, start, who) = (AuthLimiter::new(), Instant::now(), peer("192.0.2.1"));
        let at = |seconds| start + Duration::from_secs(seconds);
        for try_number in 0..10 {
            assert_eq!(
                limiter.delay_before(who, at(5 * try_number)),
                NONE,
                "try {try_number}"
            );
            limiter.failed(who, at(5 * try_number));
        }
        assert_eq!(limiter.delay_before(who, at(45)), HALF);
        assert_eq!(limiter.delay_before(who, at(59)), HALF);
        assert_eq!(limiter.delay_before(who, at(60)), NONE);
    }

    /// [ARCP 14-2] The delay doubles with each failure and ends below the hello's deadline: late, never refused.
    #[test]
    fn the_delay_grows_to_a_bound() {
        let (limiter, now, who) = (AuthLimiter::new(), Instant::now(), peer("192.0.2.1"));
        fail(&limiter, who, 10, now);
        let delays: Vec<_> = (0..6)
            .map(|_| {
                let delay = limiter.delay_before(who, now);
                limiter.failed(who, now);
                delay.as_millis()
            })
            .collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 5000, 5000]);
        fail(&limiter, who, 100, now);
        assert_eq!(limiter.delay_before(who, now), Duration::from_secs(5));
        assert!(limiter.delay_before(who, now) < Duration::from_secs(10));
    }

    /// [ARCP 14-2] A good token is never refused and takes the delay back to its start, but buys no free guesses.
    #[test]
    fn a_good_token_does_not_clear_the_failures() {
        let (limiter, now, who) = (AuthLimiter::new(), Instant::now(), peer("192.0.2.1"));
        fail(&limiter, who, 15, now);
        limiter.succeeded(who);
        assert_eq!(limiter.delay_before(who, now), HALF);
    }

    /// [ARCP 14-2] Failures count per address: IPv4 hosts, whichever way they are written, and IPv6 networks of 64 bits.
    #[test]
    fn addresses_are_told_apart() {
        let (limiter, now) = (AuthLimiter::new(), Instant::now());
        fail(&limiter, peer("192.0.2.1"), 10, now);
        fail(&limiter, peer("2001:db8:1:2::1"), 10, now);
        for (address, delay) in [
            ("192.0.2.1", HALF),
            ("::ffff:192.0.2.1", HALF),
            ("192.0.2.2", NONE),
            ("2001:db8:1:2:ffff::9", HALF),
            ("2001:db8:1:3::1", NONE),
        ] {
            assert_eq!(limiter.delay_before(peer(address), now), delay, "{address}");
        }
    }

    #[test]
    fn peers_without_an_address_are_not_delayed() {
        let (limiter, now) = (AuthLimiter::new(), Instant::now());
        fail(&limiter, None, 100, now);
        assert_eq!(limiter.delay_before(None, now), NONE);
    }

    /// [ARCP 14-2] Memory is bounded: whoever failed longest ago is forgotten first, those past the window before that.
    #[test]
    fn memory_is_bounded() {
        let limiter = AuthLimiter::new().free_failures(1).remembered_addresses(3);
        let now = Instant::now();
        let address = |n: u8| peer(&format!("192.0.2.{n}"));
        for n in [1, 2, 3, 1, 4] {
            limiter.failed(address(n), now);
        }
        assert_eq!(limiter.state.lock().offenders.len(), 3);
        assert_eq!(limiter.delay_before(address(2), now), NONE);
        for n in [1, 3, 4] {
            assert_ne!(limiter.delay_before(address(n), now), NONE, "{n}");
        }
        limiter.failed(address(5), now + Duration::from_secs(61));
        assert_eq!(limiter.state.lock().offenders.len(), 1);
    }
}
