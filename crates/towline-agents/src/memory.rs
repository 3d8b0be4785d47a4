//! What a program and all that it started hold in memory together. The kernel bounds each process by itself.

use std::{collections::BTreeSet, fs, time::Duration};

use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep_until},
};

/// How often is looked.
const PERIOD: Duration = Duration::from_millis(500);

/// The bound of a program and all below it, and when it is looked at next.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    limit: Option<u64>,
    next: Option<Instant>,
}

impl Bound {
    /// So many bytes; no bound without.
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self { limit, next: None }
    }

    /// Waits until more is held below a launcher; says so in words. Cancel safe.
    pub(crate) async fn broken(&mut self, launcher: Option<u32>) -> String {
        let (Some(limit), Some(launcher)) = (self.limit, launcher) else {
            return std::future::pending().await;
        };
        loop {
            sleep_until(*self.next.get_or_insert_with(|| Instant::now() + PERIOD)).await;
            let held = spawn_blocking(move || above(launcher, limit)).await;
            self.next = Some(Instant::now() + PERIOD);
            if let Ok(Some(bytes)) = held {
                return format!(
                    "{bytes} bytes of memory in all its processes, above its limit of {limit}: have it need less, or the operator raise `memory` in its limits"
                );
            }
        }
    }
}

/// What is held below a process, where that is more than `limit`.
fn above(launcher: u32, limit: u64) -> Option<u64> {
    let below = below(launcher);
    // What processes share counts for each of them here, so this is never too little; and it costs the kernel nothing.
    let most: u64 = below.iter().map(|pid| resident(*pid)).sum();
    if most <= limit {
        return None;
    }
    let held = below
        .iter()
        .map(|pid| proportional(*pid).unwrap_or_else(|| resident(*pid)))
        .sum();
    (held > limit).then_some(held)
}

/// The processes below one, without it.
fn below(ancestor: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut ancestors = vec![ancestor];
    while let Some(ancestor) = ancestors.pop() {
        for child in children(ancestor) {
            if found.insert(child) {
                ancestors.push(child);
            }
        }
    }
    found
}

/// The children of all threads of a process.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let listed =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let numbers = |list: String| -> Vec<u32> {
        let words = list.split_whitespace();
        words.filter_map(|word| word.parse().ok()).collect()
    };
    listed.flat_map(numbers).collect()
}

/// What stands in memory of a process, and in no file.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    sum(&status, &["RssAnon:", "RssShmem:"]).unwrap_or(0)
}

/// The same with each page that is shared divided among those who share it.
fn proportional(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    sum(&rollup, &["Pss_Anon:", "Pss_Shmem:"])
}

/// The sum of the lines of those names, in bytes.
fn sum(text: &str, names: &[&str]) -> Option<u64> {
    let kilobytes = |name: &&str| -> Option<u64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(*name))?;
        rest.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    names
        .iter()
        .map(kilobytes)
        .sum::<Option<u64>>()
        .map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_added_up() {
        let text = "Rss: 9 kB\nPss_Anon:\t      12 kB\nPss_Shmem:  4 kB\n";
        assert_eq!(sum(text, &["Pss_Anon:", "Pss_Shmem:"]), Some(16 * 1024));
        assert_eq!(sum(text, &["Pss_Anon:", "Pss_None:"]), None);
    }

    /// This process has memory, and nothing below one that is not there.
    #[test]
    fn processes_are_looked_at() {
        let own = std::process::id();
        assert!(resident(own) > 0);
        assert!(proportional(own).is_some_and(|held| held <= resident(own)));
        assert_eq!(above(u32::MAX, 0), None);
    }
}
