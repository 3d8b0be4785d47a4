//! Ends a process with everything it started, where no namespace does.

use std::{collections::HashMap, fs, io};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// Kills all descendants of this process and takes them off the process table. This process has to be their subreaper: then
/// nobody can leave by forking twice, or by a session of their own.
///
/// Each round stops all that it finds before it kills them, so that nobody forks on meanwhile; rounds go on until nobody is
/// left.
pub(super) fn sweep() {
    loop {
        let found = descendants(Pid::this());
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            for pid in &found {
                // Whoever ended meanwhile is not there; whoever may not be signalled is not ours.
                let _ = kill(*pid, signal);
            }
        }
        if !reap_all() {
            return;
        }
        if !found.is_empty() {
            // One of them is a child of ours, and was killed.
            let _ = waitpid(None, None);
        }
    }
}

/// Takes ended children off the process table; `false` when there are none left, ended or not.
fn reap_all() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return true,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// All processes below one, whatever group or session they are in.
fn descendants(of: Pid) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (pid, parent) in processes().unwrap_or_default() {
        children.entry(parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut next = vec![of.as_raw()];
    while let Some(parent) = next.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            found.push(Pid::from_raw(child));
            next.push(child);
        }
    }
    found
}

/// Each process with its parent.
fn processes() -> io::Result<Vec<(i32, i32)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name stands in parentheses and may hold anything; after it: state, parent.
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if let Some(parent) = parent {
            found.push((pid, parent));
        }
    }
    Ok(found)
}

/// How many processes and threads this user has.
pub(super) fn tasks_of_user() -> u64 {
    let user = nix::unistd::getuid().as_raw();
    let Ok(entries) = fs::read_dir("/proc") else {
        return 0;
    };
    let own = entries.flatten().filter(|entry| {
        use std::os::unix::fs::MetadataExt as _;
        entry.metadata().is_ok_and(|meta| meta.uid() == user)
    });
    own.map(|entry| fs::read_dir(entry.path().join("task")).map_or(0, |tasks| tasks.count() as u64))
        .sum()
}
