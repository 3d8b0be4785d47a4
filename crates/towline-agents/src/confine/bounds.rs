//! Resources and capabilities of the process itself.

use std::io;

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities,
    },
};

use super::{
    exchange::{Mode, Order},
    report::{Refusal, because},
    sweep::tasks_of_user,
};

/// Sets the limits. Says whether the one of processes holds; `numbers` says whether the namespace of processes bounds them.
pub(super) fn limit(order: &Order, numbers: bool) -> Result<bool, Refusal> {
    let limits = &order.limits;
    // With a user namespace of its own only its own are counted; else all that its user has.
    let beside = match order.mode {
        Mode::Namespaces => 0,
        Mode::Plain => tasks_of_user(),
    };
    let processes = limits.processes.map(|count| count.saturating_add(beside));
    let set = [
        (Resource::Core, Some(0)),
        (Resource::Data, limits.memory),
        (Resource::Nproc, processes),
        (Resource::Nofile, limits.open_files),
        (Resource::Fsize, limits.file_size),
        (Resource::Cpu, limits.cpu_seconds),
        (Resource::Msgqueue, Some(0)),
    ];
    for (resource, value) in set {
        if let Some(value) = value {
            // What the system bounds lower stays lower.
            let value = getrlimit(resource)
                .maximum
                .map_or(value, |maximum| maximum.min(value));
            let limit = Rlimit {
                current: Some(value),
                maximum: Some(value),
            };
            setrlimit(resource, limit).map_err(|error| because("its limits")(error.into()))?;
        }
    }
    // The kernel does not count the processes of root.
    Ok(limits.processes.is_none() || numbers || !nix::unistd::geteuid().is_root())
}

/// Gives up all capabilities, for good.
pub(super) fn drop_capabilities() -> io::Result<()> {
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(one) {
            // Without the right to it nothing can be gained either: there is nothing in the other sets.
            Ok(true) => match remove_capability_from_bounding_set(one) {
                Ok(()) | Err(rustix::io::Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            },
            Ok(false) => {}
            // The kernel knows no more.
            Err(_) => break,
        }
    }
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(())
}
