//! Other processes, the kernel, and resources.

use std::process::{Child, Command, Stdio};

use towline_agents::{
    Limits,
    confine::{Access, Input, Refusal},
};

use super::{attempts, both, launcher, place, python, run, scratch, shell, start};

/// A process of the same user outside.
struct Victim(Child);

impl Victim {
    fn new() -> Self {
        let command = &mut Command::new("sleep");
        Self(command.arg("600").stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// [ARCP 18-1] It reaches no other process of its user: by signals, limits, scheduling, tracing.
#[tokio::test]
async fn other_processes_are_out_of_reach() {
    let victim = Victim::new();
    let setup = format!(
        "pid = {}\nparent = os.getppid()\nbuffer = ctypes.create_string_buffer(256)",
        victim.0.id()
    );
    let tries = [
        ("signal", "os.kill(pid, 0)"),
        ("stop", "os.kill(pid, 19)"),
        (
            "limit",
            "resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, 0))",
        ),
        (
            "limit of the parent",
            "resource.prlimit(parent, resource.RLIMIT_FSIZE, (0, 0))",
        ),
        ("processors", "os.sched_setaffinity(pid, {0})"),
        (
            "scheduler",
            "os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))",
        ),
        ("priority", "os.setpriority(os.PRIO_PROCESS, pid, 19)"),
        (
            "priority of the parent",
            "os.setpriority(os.PRIO_PROCESS, parent, 19)",
        ),
        (
            "priority of all of a user",
            "os.setpriority(os.PRIO_USER, 0, 19)",
        ),
        (
            "priority of the group",
            "os.setpriority(os.PRIO_PGRP, 0, 19)",
        ),
        ("disk priority", "call(251, 1, pid, 0x6007)"),
        (
            "disk priority of a user",
            "call(251, 3, os.getuid(), 0x6007)",
        ),
        ("trace", "call(101, 16, pid, 0, 0)"),
        ("memory", "call(310, pid, buffer, 1, buffer, 1, 0)"),
        ("descriptors", "call(438, call(434, pid, 0), 0, 0)"),
        ("environment", ENVIRONMENT),
    ];
    for kernel in both().await {
        let ran = run(python(&attempts(&setup, &tries)), &kernel).await;
        assert_eq!(ran.stdout, "", "{ran:?}");
    }
}

const ENVIRONMENT: &str = "open(f'/proc/{pid}/environ', 'rb').read()";

/// [ARCP 18-1] No capabilities, no way to others, no calls of administrators; as root too.
#[tokio::test]
async fn the_kernel_is_closed() {
    let (_directory, path) = scratch();
    let setup = format!("d = {:?}", path.to_str().unwrap());
    let tries = [
        (
            "block device",
            "os.mknod(d + '/block', 0o60600, os.makedev(7, 0))",
        ),
        (
            "character device",
            "os.mknod(d + '/character', 0o20600, os.makedev(1, 1))",
        ),
        ("user namespace", "call(272, 0x10000000)"),
        ("mounts", "call(165, b'none', d.encode(), b'tmpfs', 0, 0)"),
        ("new mounts", "call(428, -100, b'/', 1)"),
        ("root", "os.chroot(d)"),
        ("host name", "socket.sethostname('x')"),
        ("bpf", "call(321, 0, ctypes.create_string_buffer(128), 128)"),
        (
            "perf",
            "call(298, ctypes.create_string_buffer(128), 0, -1, -1, 0)",
        ),
        ("keys", "call(250, 0, -3, 1)"),
        ("page faults", "call(323, 0)"),
        ("kernel", "call(246, 0, 0, 0, 0)"),
        ("module", "call(175, 0, 0, b'')"),
        (
            "handles",
            "call(304, -100, ctypes.create_string_buffer(128), 0)",
        ),
        ("terminal", "import fcntl\nfcntl.ioctl(0, 0x5412, b'x')"),
        ("shared memory", "call(29, 1, 4096, 0o1600)"),
        ("personality", "call(135, 0x0040000)"),
        ("sysrq", "open('/proc/sysrq-trigger', 'w')"),
        ("sysctl", "open('/proc/sys/kernel/core_pattern', 'w')"),
    ];
    for kernel in both().await {
        let plan = python(&attempts(&setup, &tries))
            .grant(place(&path), Access::Read)
            .grant(place(&path), Access::Write);
        let ran = run(plan, &kernel).await;
        assert_eq!(ran.stdout, "", "{ran:?}");
        let clone = "import ctypes, os; pid = ctypes.CDLL(None).syscall(56, 0x10000011, 0, 0, 0, 0)\nif pid == 0: os._exit(0)\nprint(pid)";
        assert_eq!(run(python(clone), &kernel).await.stdout, "-1\n");
    }
}

/// [ARCP 18-1] With a `/proc` of its own it sees that all sets are empty, and nobody else.
#[tokio::test]
async fn it_sees_its_own_processes_only() {
    let [kernel, _] = both().await;
    let ran = run(
        shell("grep ^Cap /proc/self/status; ls -d /proc/[0-9]* | wc -l"),
        &kernel,
    )
    .await;
    assert!(ran.report.proc);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    for line in &lines[..5] {
        assert!(line.ends_with("0000000000000000"), "{ran:?}");
    }
    // The first process, the shell, `ls` and `wc`.
    assert!(lines[5].trim().parse::<u32>().unwrap() <= 4, "{ran:?}");
}

/// [ARCP 18-1] Memory, processes, descriptors, file size and core files have bounds.
#[tokio::test]
async fn resources_have_bounds() {
    let (_directory, path) = scratch();
    let limits = Limits::default()
        .memory(Some(96 << 20))
        .processes(Some(24))
        .open_files(Some(40))
        .file_size(Some(1 << 20));
    let file = format!("{}/file", path.display());
    for kernel in both().await {
        let with = |script: &str| {
            python(script)
                .limits(limits.clone())
                .grant(place(&path), Access::Write)
        };
        let ran = run(with("x = bytearray(512 << 20)"), &kernel).await;
        assert!(ran.stderr.contains("MemoryError"), "{ran:?}");
        let ran = run(with("import os\nwhile True: os.dup(0)"), &kernel).await;
        assert!(ran.stderr.contains("Too many open files"), "{ran:?}");
        let script = format!(
            "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); open({file:?}, 'wb', 0).write(bytes(2 << 20))"
        );
        run(with(&script), &kernel).await;
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 1 << 20);
        let script = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))";
        assert_eq!(run(with(script), &kernel).await.stdout, "(0, 0)\n");
        let bomb = "import os, signal\nn = 0\ntry:\n  while n < 2000:\n    if os.fork() == 0: signal.pause()\n    n += 1\nexcept OSError as e: print(e.errno)";
        let ran = run(with(bomb), &kernel).await;
        // Without namespaces the kernel does not count what root starts; the report says so.
        if ran.report.processes_bounded {
            assert_eq!(ran.stdout, "11\n", "{ran:?}");
        } else {
            assert!(ran.report.namespaces.is_empty(), "{ran:?}");
        }
    }
}

/// [ARCP 18-1] A clean environment.
#[tokio::test]
async fn the_environment_is_what_was_set() {
    for kernel in both().await {
        let plan = python("import os; print(sorted(os.environ.items()))").env("A", "b c");
        let ran = run(plan, &kernel).await;
        assert!(ran.stdout.starts_with("[('A', 'b c')"), "{ran:?}");
        assert!(
            !ran.stdout.contains("PATH") && !ran.stdout.contains("CARGO"),
            "{ran:?}"
        );
    }
}

/// [ARCP 18-1] No file is made that would give whoever runs it the rights of this user after the job; nor is the kernel set.
#[tokio::test]
async fn nothing_is_left_that_raises_rights() {
    let (_directory, path) = scratch();
    let setup = format!(
        "d = {:?}\ndef made(name, how):\n  how(d + '/' + name)\n  if os.stat(d + '/' + name).st_mode & 0o6000 == 0: raise OSError(1, '')\n\
         def touch(p): open(p, 'w').close(); return p\n",
        path.to_str().unwrap()
    );
    let tries = [
        ("chmod", "made('a', lambda p: os.chmod(touch(p), 0o4755))"),
        (
            "chmod of a group",
            "made('b', lambda p: os.chmod(touch(p), 0o2755))",
        ),
        (
            "fchmod",
            "made('c', lambda p: os.fchmod(os.open(touch(p), os.O_RDONLY), 0o6755))",
        ),
        (
            "fchmodat",
            "made('d', lambda p: call(268, -100, touch(p).encode(), 0o4755))",
        ),
        (
            "fchmodat2",
            "made('e', lambda p: call(452, -100, touch(p).encode(), 0o4755, 0))",
        ),
        (
            "open",
            "made('f', lambda p: os.open(p, os.O_CREAT | os.O_WRONLY, 0o4755))",
        ),
        (
            "old open",
            "made('g', lambda p: call(2, p.encode(), os.O_CREAT, 0o4755))",
        ),
        ("creat", "made('h', lambda p: call(85, p.encode(), 0o4755))"),
        (
            "openat2",
            "made('i', lambda p: call(437, -100, p.encode(), (ctypes.c_uint64 * 3)(0o100, 0o4755, 0), 24))",
        ),
        ("mknod", "made('j', lambda p: os.mknod(p, 0o104755))"),
        (
            "nameless",
            "n = os.open(d, os.O_TMPFILE | os.O_RDWR, 0o4755)\nmade('k', lambda p: os.link(f'/proc/self/fd/{n}', p, follow_symlinks=True))",
        ),
        ("a directory", "made('l', lambda p: os.mkdir(p, 0o2755))"),
    ];
    let fine = "import os; os.umask(0)\nn = os.open(d + '/fine', os.O_CREAT | os.O_WRONLY, 0o755); os.chmod(d + '/fine', 0o1644)\nopen('/dev/null').close(); os.mkdir(d + '/dir', 0o777)\nprint(oct(os.stat(d + '/fine').st_mode), open('/proc/self/oom_score_adj').read() if os.path.exists('/proc/self') else '')";
    for kernel in both().await {
        let give = |plan: towline_agents::confine::Plan| {
            plan.grant(place(&path), Access::Read)
                .grant(place(&path), Access::Write)
        };
        let ran = run(give(python(&attempts(&setup, &tries))), &kernel).await;
        assert_eq!(ran.stdout, "", "{ran:?}");
        if ran.report.namespaces.is_empty() {
            // Without namespaces of its own a program changes the mode of no file by its name.
            continue;
        }
        let ran = run(
            give(python(&format!("d = {:?}\n{fine}", path.to_str().unwrap()))),
            &kernel,
        )
        .await;
        assert_eq!(ran.stdout, "0o101644 1000\n\n", "{ran:?}");
    }
}

/// [ARCP 18-1] Who is given everything to write is not given the kernel's settings.
#[tokio::test]
async fn the_machine_is_not_written_to() {
    for kernel in both().await {
        for granted in ["/sys", "/sys/kernel"] {
            let plan = shell("true").grant(place(granted), Access::Write);
            let refusal = plan.prepare(&mut launcher(), &kernel, Input::Nothing);
            assert!(
                matches!(refusal, Err(Refusal::Protected { .. })),
                "{granted}"
            );
        }
        let script = "for f in /sys/kernel/uevent_helper /sys/power/state /sys/kernel/mm/transparent_hugepage/enabled; do : >> $f; done 2>/dev/null\n\
                      mkdir /sys/fs/cgroup/x 2>/dev/null && rmdir /sys/fs/cgroup/x && echo made\n\
                      grep -E ' /sys[ /]' /proc/self/mountinfo | grep -v ' ro,'";
        let plan = shell(script)
            .grant(place("/"), Access::Read)
            .grant(place("/"), Access::Write);
        match start(plan, &kernel, None).await {
            Ok(running) => assert_eq!(running.end().await.stdout, ""),
            Err(refusal) => assert!(matches!(refusal, Refusal::Protected { .. }), "{refusal}"),
        }
    }
}
