//! Minting of ids and tokens [ARCP 5-7].

use std::sync::Arc;

use parking_lot::Mutex;
use towline_wire::{
    CallId, CredentialId, JobId, MessageId, QuestionId, ResultId, Secret, SessionId, TraceId,
};
use ulid::Ulid;

use crate::{Clock, SystemClock};

/// Mints ids: ULIDs that are monotonic within the process, those of jobs and sessions with fresh randomness each, and tokens
/// of OS randomness. Cheap to clone; clones share
/// one sequence.
#[derive(Clone)]
pub struct Ids(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    last: Ulid,
    entropy: Entropy,
}

impl Ids {
    /// The machine's clock and the operating system's randomness.
    pub fn system() -> Self {
        Self::new(
            Arc::new(SystemClock),
            Entropy::System(Box::new(Pool::EMPTY)),
        )
    }

    /// Repeatable ids for tests. Tokens are as predictable as the seed.
    pub fn seeded(clock: Arc<dyn Clock>, seed: u64) -> Self {
        Self::new(clock, Entropy::Seeded(seed))
    }

    fn new(clock: Arc<dyn Clock>, entropy: Entropy) -> Self {
        Self(Arc::new(Inner {
            clock,
            state: Mutex::new(State {
                last: Ulid::nil(),
                entropy,
            }),
        }))
    }

    /// An id for an envelope.
    pub fn message(&self) -> MessageId {
        self.mint(MessageId::minted)
    }

    /// Ids for a run of envelopes, reserved in one go.
    pub fn messages(&self, count: usize) -> MessageIds {
        let now = self.0.clock.now().unix_millis();
        let mut state = self.0.state.lock();
        let next = state.next(now);
        state.last = Ulid(next.0 + count as u128);
        MessageIds {
            next: next.0,
            end: next.0 + count as u128,
        }
    }

    /// An id for a session.
    pub fn session(&self) -> SessionId {
        self.mint_apart(SessionId::minted)
    }

    /// An id for a job.
    pub fn job(&self) -> JobId {
        self.mint_apart(JobId::minted)
    }

    /// An id for a streamed result.
    pub fn result(&self) -> ResultId {
        self.mint(ResultId::minted)
    }

    /// An id for a credential.
    pub fn credential(&self) -> CredentialId {
        self.mint(CredentialId::minted)
    }

    /// An id for a tool call.
    pub fn call(&self) -> CallId {
        self.mint(CallId::minted)
    }

    /// An id for a question.
    pub fn question(&self) -> QuestionId {
        self.mint(QuestionId::minted)
    }

    /// A nonce for a ping.
    pub fn nonce(&self) -> String {
        self.mint(|suffix| format!("p_{suffix}"))
    }

    /// A resume token: `rt_` and 64 hex digits of randomness.
    pub fn resume_token(&self) -> Secret {
        let mut bytes = [0; 32];
        self.0.state.lock().entropy.fill_apart(&mut bytes);
        let mut token = String::with_capacity(3 + 2 * bytes.len());
        token.push_str("rt_");
        for byte in bytes {
            token.extend([byte >> 4, byte & 15].map(hex_digit));
        }
        Secret::new(token)
    }

    /// A trace id.
    pub fn trace(&self) -> TraceId {
        loop {
            let mut bytes = [0; 16];
            self.0.state.lock().entropy.fill(&mut bytes);
            if let Some(trace) = TraceId::from_bytes(bytes) {
                return trace;
            }
        }
    }

    /// Eight random bytes, for jitter.
    pub fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        self.0.state.lock().entropy.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn mint<T>(&self, make: impl FnOnce(&str) -> T) -> T {
        let now = self.0.clock.now().unix_millis();
        let ulid = self.0.state.lock().next(now);
        make(ulid.array_to_str(&mut [0; ulid::ULID_LEN]))
    }

    /// An id that says nothing of the one before or after it: whoever has a job or a session of its own must not find those
    /// of others by counting [ARCP 14-4].
    fn mint_apart<T>(&self, make: impl FnOnce(&str) -> T) -> T {
        let now = self.0.clock.now().unix_millis();
        let mut bytes = [0; 16];
        self.0.state.lock().entropy.fill(&mut bytes[..10]);
        let ulid = Ulid::from_parts(now, u128::from_le_bytes(bytes));
        make(ulid.array_to_str(&mut [0; ulid::ULID_LEN]))
    }
}

impl Default for Ids {
    fn default() -> Self {
        Self::system()
    }
}

impl std::fmt::Debug for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ids")
    }
}

impl State {
    fn next(&mut self, now_ms: u64) -> Ulid {
        // Within a millisecond, and when the clock goes back, the next id is the last plus one.
        self.last = if now_ms > self.last.timestamp_ms() {
            let mut bytes = [0; 16];
            self.entropy.fill(&mut bytes[..10]);
            // The top bit stays clear, so that counting on cannot run into the timestamp.
            Ulid::from_parts(now_ms, u128::from_le_bytes(bytes) >> 1)
        } else {
            Ulid(self.last.0 + 1)
        };
        self.last
    }
}

enum Entropy {
    System(Box<Pool>),
    Seeded(u64),
}

/// Randomness of the operating system, asked for in advance: ids take a few bytes at a time, and a system call each.
struct Pool {
    bytes: [u8; Self::SIZE],
    /// So many at the beginning are not taken yet.
    left: usize,
}

impl Pool {
    const SIZE: usize = 512;
    const EMPTY: Self = Self {
        bytes: [0; Self::SIZE],
        left: 0,
    };

    fn take(&mut self, bytes: &mut [u8]) {
        if bytes.len() > Self::SIZE {
            return system(bytes);
        }
        if bytes.len() > self.left {
            system(&mut self.bytes);
            self.left = Self::SIZE;
        }
        let from = self.left - bytes.len();
        let taken = &mut self.bytes[from..self.left];
        bytes.copy_from_slice(taken);
        // Nothing is handed out twice, or can be found here afterwards.
        taken.fill(0);
        self.left = from;
    }
}

impl Entropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        match self {
            Self::System(pool) => pool.take(bytes),
            Self::Seeded(state) => bytes
                .iter_mut()
                .for_each(|byte| *byte = splitmix(state).to_le_bytes()[0]),
        }
    }

    /// [`fill`](Self::fill) for secrets, which were never anywhere else in memory.
    fn fill_apart(&mut self, bytes: &mut [u8]) {
        match self {
            Self::System(_) => system(bytes),
            Self::Seeded(_) => self.fill(bytes),
        }
    }
}

// Without randomness there are no tokens to trust; nothing sensible is left to do.
#[expect(
    clippy::expect_used,
    reason = "an operating system without randomness cannot run this process"
)]
fn system(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives randomness");
}

fn hex_digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or('0')
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A reserved run of message ids.
#[derive(Debug)]
pub struct MessageIds {
    next: u128,
    end: u128,
}

impl Iterator for MessageIds {
    type Item = MessageId;

    fn next(&mut self) -> Option<MessageId> {
        (self.next < self.end).then(|| {
            let ulid = Ulid(self.next);
            self.next += 1;
            MessageId::minted(ulid.array_to_str(&mut [0; ulid::ULID_LEN]))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use towline_wire::Timestamp;

    use super::*;
    use crate::ManualClock;

    fn seeded() -> (Arc<ManualClock>, Ids) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_micros(
            1_700_000_000_000_000,
        )));
        (Arc::clone(&clock), Ids::seeded(clock, 7))
    }

    /// [ARCP 5-7] ids are a prefix and a ULID of 26 upper-case characters, monotonic within the process, also when the
    /// clock stands still or goes back.
    #[test]
    fn ids_are_monotonic_ulids() {
        let (clock, ids) = seeded();
        let mut minted = Vec::new();
        for step in 0..100 {
            minted.push(ids.message().to_string());
            minted.extend(ids.messages(3).map(|id| id.to_string()));
            if step % 10 == 0 {
                clock.advance(Duration::from_millis(3));
            }
        }
        assert!(minted.windows(2).all(|pair| pair[0] < pair[1]));
        for id in minted {
            let ulid = id.strip_prefix("msg_").unwrap();
            assert_eq!(ulid.len(), 26);
            assert!(
                ulid.bytes()
                    .all(|byte| b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".contains(&byte)),
                "{ulid}"
            );
        }
    }

    #[test]
    fn a_clock_that_goes_back_does_not_take_the_ids_with_it() {
        let late: Arc<ManualClock> =
            Arc::new(ManualClock::at(Timestamp::from_unix_micros(2_000_000)));
        let ids = Ids::seeded(Arc::clone(&late) as Arc<dyn Clock>, 1);
        let first = ids.message();
        *ids.0.state.lock() = State {
            last: Ulid::from_parts(5_000, 1),
            entropy: Entropy::Seeded(1),
        };
        let later = ids.message();
        assert!(first < later);
        assert!(later < ids.message());
    }

    /// [ARCP 7.6-5, 14-4] Ids of jobs and sessions are not counted on, not even within a millisecond.
    #[test]
    fn ids_of_jobs_and_sessions_do_not_tell_of_each_other() {
        let (_, ids) = seeded();
        let number = |text: &str| {
            Ulid::from_string(&text[text.len() - ulid::ULID_LEN..])
                .unwrap()
                .0
        };
        let minted: Vec<u128> = (0..100)
            .flat_map(|_| [number(ids.job().as_str()), number(ids.session().as_str())])
            .collect();
        for (place, one) in minted.iter().enumerate() {
            for other in &minted[place + 1..] {
                assert!(one.abs_diff(*other) > 1 << 32, "{one} {other}");
            }
        }
    }

    /// [ARCP 5-7] a resume token is `rt_` and 64 hex digits, and no two are alike.
    #[test]
    fn resume_tokens_are_random() {
        let ids = Ids::system();
        let (one, other) = (ids.resume_token(), ids.resume_token());
        assert_ne!(one.expose(), other.expose());
        let hex = one.expose().strip_prefix("rt_").unwrap();
        assert!(hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let (_, one) = seeded();
        let (_, other) = seeded();
        assert_eq!(one.job(), other.job());
        assert_eq!(one.trace(), other.trace());
        assert_eq!(one.resume_token().expose(), other.resume_token().expose());
    }

    /// [ARCP 14-4] Randomness that was asked for in advance is handed out once.
    #[test]
    fn no_randomness_is_handed_out_twice() {
        let mut pool = Pool::EMPTY;
        let mut seen = std::collections::HashSet::new();
        for length in (8..=32).cycle().take(400) {
            let mut bytes = vec![0; length];
            pool.take(&mut bytes);
            assert!(seen.insert(bytes[..8].to_vec()));
            assert!(pool.bytes[pool.left..].iter().all(|byte| *byte == 0));
        }
        let mut much = vec![0; 3 * Pool::SIZE];
        pool.take(&mut much);
        assert!(
            much.rchunks(Pool::SIZE)
                .all(|part| part.iter().any(|byte| *byte != 0))
        );
    }
}
