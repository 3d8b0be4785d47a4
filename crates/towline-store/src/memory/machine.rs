//! How much memory there is.

use std::fs;

/// A quarter of what this process may use, [`LEAST`] at least; [`UNKNOWN`] where nobody says how much that is.
pub(super) fn quarter_of_memory() -> u64 {
    let limits = [
        fs::read_to_string("/proc/meminfo")
            .ok()
            .and_then(|text| total(&text)),
        limit("/sys/fs/cgroup/memory.max"),
        limit("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ];
    share(limits.into_iter().flatten().min())
}

fn share(memory: Option<u64>) -> u64 {
    memory.map_or(UNKNOWN, |memory| (memory / 4).max(LEAST))
}

/// The line `MemTotal:  N kB`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// What a control group may use; without a limit the file says `max`, or a number beyond all memory.
fn limit(file: &str) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

const LEAST: u64 = 256 << 20;
const UNKNOWN: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_kept_but_never_too_little() {
        for (memory, kept) in [
            (Some(64 << 30), 16 << 30),
            (Some(4 << 30), 1 << 30),
            (Some(512 << 20), LEAST),
            (Some(0), LEAST),
            (None, UNKNOWN),
        ] {
            assert_eq!(share(memory), kept, "{memory:?}");
        }
        assert!(quarter_of_memory() >= LEAST);
    }

    #[test]
    fn the_system_is_read_as_it_writes() {
        let text = "MemTotal:       16303428 kB\nMemFree:         1203428 kB\n";
        assert_eq!(total(text), Some(16_303_428 * 1024));
        assert_eq!(total("MemFree: 1 kB"), None);
    }
}
