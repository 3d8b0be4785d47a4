//! Which system calls a program has.
//!
//! A list of what is there, so that what a later kernel adds is not (it answers ENOSYS, as an older kernel would); and a list
//! of what is refused (EPERM), by itself or with some arguments. Both hold; the stricter answer counts.

mod calls;

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};

use super::{exchange::Mode, report::Refusal};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Built<T> = Result<T, seccompiler::BackendError>;

/// Namespaces a program could make; it stays in those it has.
const NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

/// Typing into a terminal, and what only consoles and modems have.
const TERMINAL: [u64; 3] = [libc::TIOCSTI, 0x541C, libc::TIOCSETD];

/// The first bits of a socket's type; the rest are flags.
const SOCKET_TYPE: u64 = 0xf;

/// Linux numbers its calls a second time for programs with short pointers: the bit that says so. No such program runs here.
const OTHER_NUMBERS: u32 = 0x4000_0000;

/// Leaves this process, and all it becomes and starts, the calls of the list; with a door, those to connect over TCP.
pub(super) fn restrict(mode: Mode, door: bool) -> Result<(), Refusal> {
    let missing = |what: String| Refusal::CannotConfine(format!("seccomp: {what}"));
    for filter in filters(mode, door).map_err(|error| missing(error.to_string()))? {
        apply_filter(&filter).map_err(|error| missing(error.to_string()))?;
    }
    Ok(())
}

fn filters(mode: Mode, door: bool) -> Built<Vec<BpfProgram>> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let errno = |number: i32| SeccompAction::Errno(number.unsigned_abs());
    let known = calls::ALLOWED.iter().map(|call| (*call, Vec::new()));
    let known = SeccompFilter::new(
        known.chain(refused_of(&refused(mode, door)?)).collect(),
        errno(libc::ENOSYS),
        SeccompAction::Allow,
        arch,
    )?;
    let refused = SeccompFilter::new(
        refused(mode, door)?,
        SeccompAction::Allow,
        errno(libc::EPERM),
        arch,
    )?;
    Ok(vec![
        numbered_once(),
        BpfProgram::try_from(known)?,
        BpfProgram::try_from(refused)?,
    ])
}

/// The refused calls are there, for the first list: they answer EPERM and not ENOSYS.
fn refused_of(refused: &Rules) -> Vec<(i64, Vec<SeccompRule>)> {
    refused.keys().map(|call| (*call, Vec::new())).collect()
}

/// Refuses calls by their second numbers, which a list of numbers would not know.
fn numbered_once() -> BpfProgram {
    let statement = |code: u32, jt, jf, k| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    vec![
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(
            libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K,
            0,
            1,
            OTHER_NUMBERS,
        ),
        statement(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
        ),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

fn refused(mode: Mode, door: bool) -> Built<Rules> {
    let mut rules: Rules = calls::REFUSED
        .iter()
        .map(|call| (*call, Vec::new()))
        .collect();
    raising(&mut rules)?;
    let mut add = |call: i64, of: Vec<SeccompRule>| {
        rules.insert(call, of);
    };
    // Pairs are for the program's own processes. Those that carry single messages can also be sent to a path.
    let mut pairs = vec![rule(&[is_not(0, libc::AF_UNIX as u64)?])?];
    for kind in (0..=SOCKET_TYPE).filter(|kind| ![STREAM, SEQPACKET].contains(kind)) {
        pairs.push(rule(&[masked(1, SOCKET_TYPE, kind)?])?);
    }
    add(libc::SYS_socketpair, pairs);
    if door {
        for (call, of) in all_but_tcp()? {
            add(call, of);
        }
    }
    // A new process may not have namespaces of its own.
    let each = (0..u64::BITS).map(|bit| 1 << bit);
    let each = each.filter(|bit| NAMESPACES & bit != 0);
    let own: Built<Vec<_>> = each.map(|bit| rule(&[masked(0, bit, bit)?])).collect();
    add(libc::SYS_clone, own?);
    // Other processes are left alone; zero is the caller.
    add(
        libc::SYS_prlimit64,
        vec![rule(&[is_not(0, 0)?, wide_is_not(2, 0)?])?],
    );
    for call in calls::OF_ANOTHER {
        add(*call, vec![rule(&[is_not(0, 0)?])?]);
    }
    // By number of a process; not by group or user.
    let by = |process| -> Built<Vec<SeccompRule>> {
        Ok(vec![rule(&[is_not(0, process)?])?, rule(&[is_not(1, 0)?])?])
    };
    add(libc::SYS_setpriority, by(libc::PRIO_PROCESS as u64)?);
    add(libc::SYS_ioprio_set, by(IOPRIO_WHO_PROCESS)?);
    let terminal: Built<Vec<_>> = TERMINAL.iter().map(|what| rule(&[is(1, *what)?])).collect();
    add(libc::SYS_ioctl, terminal?);
    // Linux as it is, or the question.
    add(
        libc::SYS_personality,
        vec![rule(&[is_not(0, 0)?, is_not(0, u64::from(u32::MAX))?])?],
    );
    if mode == Mode::Plain {
        // Landlock does not look at what is changed about a file and not in it. Without a view of its own the program can
        // name every file there is; those it could open it may still change by descriptor.
        for call in calls::ABOUT_FILES {
            add(*call, Vec::new());
        }
        add(libc::SYS_utimensat, vec![rule(&[wide_is_not(1, 0)?])?]);
    }
    Ok(rules)
}

/// Files that give whoever runs them the rights of this user, which outlast the job; and devices. The newest way to open files
/// tells its mode where no filter can read it, so it is not there.
fn raising(rules: &mut Rules) -> Built<()> {
    let raising = || [libc::S_ISUID, libc::S_ISGID].map(u64::from);
    for (call, at) in calls::WITH_MODE {
        let of = raising().map(|bit| rule(&[masked(*at, bit, bit)?]));
        rules.insert(*call, of.into_iter().collect::<Built<_>>()?);
    }
    for (call, flags) in calls::OPENING {
        let mut of = Vec::new();
        for making in [libc::O_CREAT, MAKES_NAMELESS] {
            let making = u64::from(making.unsigned_abs());
            for bit in raising() {
                of.push(rule(&[
                    masked(*flags, making, making)?,
                    masked(flags + 1, bit, bit)?,
                ])?);
            }
        }
        rules.insert(*call, of);
    }
    // Devices. Files of other kinds are made like this as well.
    let made = |at: u8| -> Built<Vec<SeccompRule>> {
        let kinds = [libc::S_IFCHR, libc::S_IFBLK];
        let of = |kind: u32| rule(&[masked(at, u64::from(libc::S_IFMT), u64::from(kind))?]);
        let raising = raising().map(|bit| rule(&[masked(at, bit, bit)?]));
        kinds.into_iter().map(of).chain(raising).collect()
    };
    rules.insert(libc::SYS_mknodat, made(2)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_mknod, made(1)?);
    Ok(())
}

/// What `O_TMPFILE` has beside `O_DIRECTORY`.
const MAKES_NAMELESS: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;

/// With a door: sockets of TCP over IPv4 and no other, which may connect; where to is the network's and Landlock's to say. A
/// message that opens a connection by itself asks neither.
fn all_but_tcp() -> Built<Rules> {
    let mut sockets = vec![rule(&[is_not(0, libc::AF_INET as u64)?])?];
    for kind in (0..=SOCKET_TYPE).filter(|kind| *kind != STREAM) {
        sockets.push(rule(&[masked(1, SOCKET_TYPE, kind)?])?);
    }
    sockets.push(rule(&[
        is_not(2, 0)?,
        is_not(2, libc::IPPROTO_TCP as u64)?,
    ])?);
    let opening = |flags: u8| -> Built<Vec<SeccompRule>> {
        Ok(vec![rule(&[masked(flags, FAST_OPEN, FAST_OPEN)?])?])
    };
    let options = OPTIONS.iter();
    let options: Built<Vec<_>> = options
        .map(|option| rule(&[is(1, libc::IPPROTO_TCP as u64)?, is(2, *option)?]))
        .collect();
    // Connecting is refused where there is no address at all, which makes it a call that is known.
    Ok(Rules::from([
        (libc::SYS_socket, sockets),
        (libc::SYS_connect, vec![rule(&[is(2, 0)?])?]),
        (libc::SYS_sendto, opening(3)?),
        (libc::SYS_sendmsg, opening(2)?),
        (libc::SYS_sendmmsg, opening(3)?),
        (libc::SYS_setsockopt, options?),
    ]))
}

/// A message's flag: connect with it.
const FAST_OPEN: u64 = libc::MSG_FASTOPEN as u64;

/// TCP's options to do so, on either side, and to hand the connection to another protocol.
const OPTIONS: [u64; 3] = [
    libc::TCP_FASTOPEN as u64,
    libc::TCP_FASTOPEN_CONNECT as u64,
    libc::TCP_ULP as u64,
];

const STREAM: u64 = libc::SOCK_STREAM as u64;
const SEQPACKET: u64 = libc::SOCK_SEQPACKET as u64;
const IOPRIO_WHO_PROCESS: u64 = 1;

/// All of the conditions.
fn rule(conditions: &[SeccompCondition]) -> Built<SeccompRule> {
    SeccompRule::new(conditions.to_vec())
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Built<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

fn is(argument: u8, value: u64) -> Built<SeccompCondition> {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn is_not(argument: u8, value: u64) -> Built<SeccompCondition> {
    condition(argument, SeccompCmpOp::Ne, value)
}

/// For an argument that is an address.
fn wide_is_not(argument: u8, value: u64) -> Built<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> Built<SeccompCondition> {
    condition(argument, SeccompCmpOp::MaskedEq(mask), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is on both lists but what is refused with some arguments only.
    #[test]
    fn the_lists_do_not_contradict_each_other() {
        for call in calls::REFUSED {
            assert!(!calls::ALLOWED.contains(call), "{call} is on both lists");
        }
        let refused = refused(Mode::Namespaces, false).unwrap();
        for door in [
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_ptrace,
            libc::SYS_process_vm_writev,
            libc::SYS_mount,
            libc::SYS_bpf,
        ] {
            assert!(
                refused[&door].is_empty(),
                "{door} is refused whatever its arguments"
            );
        }
        for unknown in [
            libc::SYS_io_uring_setup,
            libc::SYS_clone3,
            libc::SYS_shmget,
            libc::SYS_openat2,
        ] {
            assert!(!calls::ALLOWED.contains(&unknown) && !refused.contains_key(&unknown));
        }
    }

    #[test]
    fn filters_fit_into_the_kernel() {
        for mode in [Mode::Namespaces, Mode::Plain] {
            for door in [false, true] {
                for filter in filters(mode, door).unwrap() {
                    assert!(filter.len() < 4096, "{}", filter.len());
                }
            }
        }
    }
}
