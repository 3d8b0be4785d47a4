//! What the kernel's Landlock lets a program do with files, and that it reaches nobody outside.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus,
    NetPort, PathBeneath, RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::CWD;

use super::{
    exchange::{Access, Descriptors, Mode, Order},
    place::open_exactly,
    report::{Refusal, because},
    system::SystemPlace,
    view::Got,
};

/// Devices without a machine behind them, and whether they may be written to.
const DEVICES: [(&str, bool); 5] = [
    ("/dev/null", true),
    ("/dev/zero", true),
    ("/dev/full", true),
    ("/dev/random", false),
    ("/dev/urandom", false),
];

/// The rights whose meaning this was written for.
const RIGHTS: ABI = ABI::V5;

/// From here on ports can be told.
pub(super) const PORTS: u8 = 4;

/// From here on signals can be kept inside, which a program without namespaces needs.
const SCOPES: u8 = 6;

/// Confines this process to what the order grants. Gives the version of the interface that holds.
pub(super) fn restrict(
    order: &Order,
    descriptors: &Descriptors,
    system: &[SystemPlace],
    view: &Got,
) -> Result<u8, Refusal> {
    let status = ruleset()
        .and_then(|ruleset| rules(ruleset, order, descriptors, system, view))
        .and_then(RulesetCreated::restrict_self)
        .map_err(|error| because("landlock")(io::Error::other(error.to_string())))?;
    enforced(order.mode, &status)
}

fn enforced(mode: Mode, status: &RestrictionStatus) -> Result<u8, Refusal> {
    let missing = |what: &str| Err(Refusal::CannotConfine(what.to_owned()));
    let version = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as u8,
        LandlockStatus::NotEnabled => {
            return missing(
                "this kernel has landlock, and it is not enabled: add `landlock` to the kernel's parameter `lsm=`",
            );
        }
        LandlockStatus::NotImplemented => {
            return missing(
                "this kernel has no landlock: it needs Linux 5.13 or later, built with it",
            );
        }
    };
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return missing("landlock is not enforced");
    }
    is_enough(mode, version)
}

/// Without namespaces of its own nothing else keeps signals inside.
fn is_enough(mode: Mode, version: u8) -> Result<u8, Refusal> {
    if mode == Mode::Plain && version < SCOPES {
        return Err(Refusal::CannotConfine(format!(
            "landlock {version} of this kernel cannot keep signals inside, which without namespaces of its own needs \
             version {SCOPES} (Linux 6.12): let unprivileged user namespaces be made, or take a later kernel",
        )));
    }
    Ok(version)
}

fn ruleset() -> Result<RulesetCreated, RulesetError> {
    // Older kernels enforce those rights that they know; whether that is enough is asked afterwards.
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RIGHTS))?
        .handle_access(BitFlags::from(AccessNet::BindTcp) | AccessNet::ConnectTcp)?
        .scope(Scope::Signal | Scope::AbstractUnixSocket)?
        .create()
}

fn rights(access: Access) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::from_write(RIGHTS) & !(AccessFs::MakeBlock | AccessFs::MakeChar);
    match access {
        Access::Read => read,
        Access::Run => read | AccessFs::Execute,
        Access::Write => write,
        Access::ReadWrite => read | write,
    }
}

fn rules(
    mut ruleset: RulesetCreated,
    order: &Order,
    descriptors: &Descriptors,
    system: &[SystemPlace],
    view: &Got,
) -> Result<RulesetCreated, RulesetError> {
    for place in system {
        ruleset = rule(ruleset, place.fd.as_fd(), place.directory, Access::Run)?;
    }
    for (path, writes) in DEVICES {
        let access = if writes {
            Access::ReadWrite
        } else {
            Access::Read
        };
        ruleset = named(ruleset, path, access)?;
    }
    for (place, fd) in order.granted.iter().zip(&descriptors.granted) {
        ruleset = rule(ruleset, fd.as_fd(), place.directory, place.access)?;
    }
    if !order.probe {
        ruleset = rule(ruleset, descriptors.program.as_fd(), false, Access::Run)?;
    }
    if let Some(proc) = &view.proc {
        ruleset = rule(ruleset, proc.as_fd(), true, Access::Read)?;
    }
    if let Some(door) = order.door {
        ruleset = ruleset.add_rule(NetPort::new(door.port, AccessNet::ConnectTcp))?;
    }
    for scratch in &view.scratch {
        ruleset = rule(ruleset, scratch.as_fd(), true, Access::ReadWrite)?;
    }
    Ok(ruleset)
}

fn rule(
    ruleset: RulesetCreated,
    fd: BorrowedFd<'_>,
    directory: bool,
    access: Access,
) -> Result<RulesetCreated, RulesetError> {
    let rights = rights(access);
    let rights = if directory {
        rights
    } else {
        rights & AccessFs::from_file(RIGHTS)
    };
    ruleset.add_rule(PathBeneath::new(fd, rights))
}

/// A rule for what is there in the view the program has; for nothing, where nothing is.
fn named(
    ruleset: RulesetCreated,
    path: &str,
    access: Access,
) -> Result<RulesetCreated, RulesetError> {
    match open_exactly(CWD, Path::new(path)) {
        Ok(fd) => rule(ruleset, fd.as_fd(), Path::new(path).is_dir(), access),
        Err(_) => Ok(ruleset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 18-1] A kernel that cannot keep signals inside is not enough where there are no namespaces either.
    #[test]
    fn an_older_landlock_needs_namespaces() {
        for version in 1..=SCOPES + 1 {
            let plain = is_enough(Mode::Plain, version);
            assert_eq!(plain.is_ok(), version >= SCOPES, "{version}: {plain:?}");
            assert_eq!(is_enough(Mode::Namespaces, version), Ok(version));
        }
    }
}
