//! `towline __confine`: takes away from this process what a lease does not give it, then becomes the program.
//!
//! A process can confine itself without unsafe code, and what it has given up stays given up in the program it becomes.
//! That is why `exec` goes through this command instead of doing it between fork and exec.

use crate::{args::ConfineArgs, failure::Failure, failure::Outcome};

/// What says on standard error, to the agent that started us, that the kernel does not confine.
pub(crate) const UNCONFINED: &str = "towline: not confined:";

/// The status when the program cannot be run, as shells have it.
const CANNOT_RUN: u8 = 127;

#[cfg(unix)]
pub(super) fn run(args: &ConfineArgs) -> Outcome {
    use std::os::unix::process::CommandExt as _;

    confine(args)?;
    let Some((program, arguments)) = args.argv.split_first() else {
        return Ok(CANNOT_RUN);
    };
    let error = std::process::Command::new(program).args(arguments).exec();
    crate::output::note(&format!("cannot run `{}`: {error}", program.display()));
    Ok(CANNOT_RUN)
}

#[cfg(not(unix))]
pub(super) fn run(_: &ConfineArgs) -> Outcome {
    Err(Failure::local("this system cannot confine programs"))
}

#[cfg(target_os = "linux")]
fn confine(args: &ConfineArgs) -> Outcome<()> {
    let status = landlocked(args)
        .map_err(|error| Failure::local(format!("cannot confine the program: {error}")))?;
    if status.ruleset != landlock::RulesetStatus::FullyEnforced {
        let how = match status.ruleset {
            landlock::RulesetStatus::NotEnforced => "this kernel has no landlock",
            _ => "this kernel enforces only a part",
        };
        crate::output::note(&format!("{UNCONFINED} {how}"));
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn landlocked(args: &ConfineArgs) -> Result<landlock::RestrictionStatus, landlock::RulesetError> {
    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, Ruleset,
        RulesetAttr as _, RulesetCreatedAttr as _, Scope,
    };

    // The newest rights whose meaning this code was written for; older kernels enforce those they know.
    let abi = ABI::V5;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::from_write(abi);
    let execute = read | AccessFs::Execute;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?;
    if !args.network {
        ruleset =
            ruleset.handle_access(BitFlags::from(AccessNet::BindTcp) | AccessNet::ConnectTcp)?;
    }
    ruleset
        .scope(Scope::Signal | Scope::AbstractUnixSocket)?
        .create()?
        .add_rules(rules(&args.execute, execute))?
        .add_rules(rules(&args.read, read))?
        .add_rules(rules(&args.write, write))?
        .restrict_self()
}

/// One rule for each path that is there; a path that is not there gives nothing.
#[cfg(target_os = "linux")]
fn rules(
    paths: &[std::path::PathBuf],
    access: landlock::BitFlags<landlock::AccessFs>,
) -> impl Iterator<Item = Result<landlock::PathBeneath<landlock::PathFd>, landlock::RulesetError>> {
    use landlock::{AccessFs, PathBeneath, PathFd};

    let found = paths
        .iter()
        .filter_map(|path| Some((path, PathFd::new(path).ok()?)));
    found.map(move |(path, fd)| {
        let only_files = AccessFs::from_file(landlock::ABI::V5);
        let access = if path.is_dir() {
            access
        } else {
            access & only_files
        };
        Ok(PathBeneath::new(fd, access))
    })
}

#[cfg(all(unix, not(target_os = "linux")))]
fn confine(_: &ConfineArgs) -> Outcome<()> {
    crate::output::note(&format!("{UNCONFINED} this system has no landlock"));
    Ok(())
}
