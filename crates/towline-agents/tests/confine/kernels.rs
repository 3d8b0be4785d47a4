//! Kernels that lack something: a filter on a thread refuses a call with what such a kernel would answer, for the thread and
//! for all it starts.

use std::{collections::BTreeMap, future::Future};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};
use towline_agents::confine::{Access, Input, Kernel, Refusal};

use super::{launcher, place, run, scratch, shell, start};

const NO_LANDLOCK: &[i64] = &[libc::SYS_landlock_create_ruleset];
const NO_SECCOMP: &[i64] = &[libc::SYS_seccomp, libc::SYS_prctl];

/// Runs a test where these calls answer `errno`.
fn without<F: Future<Output = ()>>(
    calls: &[i64],
    errno: i32,
    test: impl FnOnce() -> F + Send + 'static,
) {
    let filter = filter(calls, errno);
    let thread = std::thread::spawn(move || {
        apply_filter(&filter).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn filter(calls: &[i64], errno: i32) -> BpfProgram {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in calls {
        // Of the many things this call does, the one that sets a filter.
        let rule = (*call == libc::SYS_prctl).then(|| {
            let set = u64::try_from(libc::PR_SET_SECCOMP).unwrap();
            let is = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, set);
            SeccompRule::new(vec![is.unwrap()]).unwrap()
        });
        rules.insert(*call, rule.into_iter().collect());
    }
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        TargetArch::try_from(std::env::consts::ARCH).unwrap(),
    );
    BpfProgram::try_from(filter.unwrap()).unwrap()
}

/// Nothing can be held here, and it says what is missing.
async fn is_refused(says: &[&str]) {
    let kernel = Kernel::probe(launcher).await;
    let refusal = kernel.refuses().expect("nothing holds a program here");
    for part in says {
        assert!(refusal.to_string().contains(part), "{refusal}");
    }
    let prepared = shell("true").prepare(&mut launcher(), &kernel, Input::Nothing);
    assert!(matches!(prepared, Err(Refusal::CannotConfine(_))));
}

/// [ARCP 18-1] Fails closed: without Landlock no program runs, with namespaces or without.
#[test]
fn without_landlock_nothing_runs() {
    without(NO_LANDLOCK, libc::ENOSYS, || {
        is_refused(&["no landlock", "5.13"])
    });
    without(NO_LANDLOCK, libc::EOPNOTSUPP, || {
        is_refused(&["landlock", "not enabled", "lsm="])
    });
    without(&[libc::SYS_landlock_restrict_self], libc::EPERM, || {
        is_refused(&["landlock"])
    });
    let neither = [NO_LANDLOCK, &[libc::SYS_unshare]].concat();
    without(&neither, libc::ENOSYS, || {
        is_refused(&["no landlock", "namespaces"])
    });
}

/// [ARCP 18-1] Fails closed: without seccomp no program runs.
#[test]
fn without_seccomp_nothing_runs() {
    without(NO_SECCOMP, libc::ENOSYS, || is_refused(&["seccomp"]));
}

/// [ARCP 18-1] What was found out once is not believed: each launcher looks for itself, before the program runs.
#[test]
fn a_kernel_that_was_sound_before_is_not_believed() {
    let (_directory, path) = scratch();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let kernels = runtime.unwrap().block_on(super::both());
    for (lacks, kernel) in [NO_LANDLOCK, NO_SECCOMP].into_iter().zip(kernels) {
        let path = path.clone();
        without(lacks, libc::ENOSYS, move || async move {
            let script = format!("echo ran > {}/mark", path.display());
            let plan = shell(&script).grant(place(&path), Access::Write);
            let refusal = start(plan, &kernel, None).await.map(|_| ()).unwrap_err();
            assert!(matches!(refusal, Refusal::CannotConfine(_)), "{refusal}");
            assert!(!path.join("mark").exists());
        });
    }
}

/// [ARCP 18-1] Where an ordinary user may make no namespaces, or ones without power, Landlock and seccomp hold alone, and the
/// report says so.
#[test]
fn without_namespaces_the_rest_holds() {
    for (call, errno) in [
        (libc::SYS_unshare, libc::EPERM),
        (libc::SYS_unshare, libc::ENOSPC),
        (libc::SYS_mount, libc::EACCES),
        (libc::SYS_open_tree, libc::EPERM),
        (libc::SYS_pivot_root, libc::EPERM),
    ] {
        without(&[call], errno, move || async move {
            let kernel = Kernel::probe(launcher).await;
            assert_eq!(kernel.refuses(), None, "{call}");
            let (_directory, path) = scratch();
            std::fs::write(path.join("file"), "open\n").unwrap();
            let script = format!("cat {}/file; cat /etc/passwd; kill -9 1", path.display());
            let ran = run(shell(&script).grant(place(&path), Access::Read), &kernel).await;
            assert_eq!(ran.stdout, "open\n", "{ran:?}");
            assert!(ran.report.namespaces.is_empty(), "{ran:?}");
        });
    }
}
