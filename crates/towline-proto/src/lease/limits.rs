//! The bounds that keep hostile patterns and values cheap [ARCP 14-4].

/// The longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 1024;

/// The longest value that is matched, in bytes; longer ones are denied.
pub const MAX_VALUE_BYTES: usize = 4096;

/// How many patterns the braces of one pattern may stand for.
pub(super) const MAX_ALTERNATIVES: usize = 256;

/// How deep braces may nest.
pub(super) const MAX_BRACE_DEPTH: usize = 8;

/// How many tokens a pattern may have once its braces are multiplied out.
pub(super) const MAX_TOKENS: usize = 4096;

/// How many states the automaton of one pattern may have.
pub(super) const MAX_STATES: usize = 4096;

/// How many patterns a lease may hold.
pub(super) const MAX_PATTERNS: usize = 1024;

/// How many states the automata of one lease may have together.
pub(super) const MAX_LEASE_STATES: usize = 32 * 1024;

/// How many currencies a budget may name.
pub(super) const MAX_CURRENCIES: usize = 64;

/// How many states the comparison of one pattern with a lease may visit.
pub(super) const MAX_INCLUSION_NODES: usize = 50_000;

/// How many elementary steps the comparison of two leases may take, all their patterns together.
pub(super) const MAX_INCLUSION_STEPS: usize = 2_000_000;

/// How many elementary steps it may take to compile a lease, all its patterns together.
pub(super) const MAX_COMPILE_STEPS: usize = 5_000_000;

/// How many of either it may take where others wait for the thread.
pub(super) const QUICK_STEPS: usize = 20_000;

/// How many elementary steps it may take to match a value with all patterns of a namespace.
pub(super) const MAX_MATCH_STEPS: usize = 1_000_000;
