//! What a program that holds secrets does for itself.

use std::io;

use rustix::{
    fs::{Access, access},
    process::{
        DumpableBehavior, Resource, Rlimit, dumpable_behavior, geteuid, getrlimit,
        set_dumpable_behavior, setrlimit,
    },
};

/// Lets nobody look into this process: no core file is written, and other processes of its user, agents among them, read
/// neither its memory nor its environment. For the start of a program that holds tokens and keys.
///
/// # Errors
/// The system refuses it.
pub fn close_memory() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Whether [`close_memory`] holds.
pub fn memory_is_closed() -> bool {
    getrlimit(Resource::Core).current == Some(0)
        && dumpable_behavior().is_ok_and(|is| is == DumpableBehavior::NotDumpable)
}

/// Whether this process has the rights of root.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Whether the control group this process is in (version 2) is its user's to divide.
pub fn cgroup_is_delegated() -> bool {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    own.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .is_some_and(|path| {
            access(
                format!("/sys/fs/cgroup{path}/cgroup.subtree_control"),
                Access::WRITE_OK,
            )
            .is_ok()
        })
}
