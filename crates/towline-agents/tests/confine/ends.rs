//! A program ends, with everything it started.

use std::os::{
    fd::OwnedFd,
    unix::{net::UnixStream, process::ExitStatusExt as _},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::io::AsyncReadExt as _;
use towline_agents::confine::{Input, Program, Refusal};

use super::{Started, attempts, both, launcher, python, run, shell, start};

/// Forks twice, leaves the session, hears no signal that can be kept from hearing, holds the output.
const DAEMON: &str = "import os, signal, sys, time
r, w = os.pipe()
if os.fork() == 0:
  os.setsid()
  if os.fork() == 0:
    for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(s, signal.SIG_IGN)
    os.write(w, b'x')
    time.sleep(600)
  os._exit(0)
os.read(r, 1)
print('started', flush=True)
";

async fn started(mut started: Started) -> Started {
    let mut line = [0; 8];
    let out = started.child.stdout.as_mut().unwrap();
    out.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"started\n");
    started
}

/// [ARCP 18-4] What left the session and forked twice ends with the program.
#[tokio::test]
async fn a_daemon_ends_with_its_program() {
    for kernel in both().await {
        // The output ends only when nobody holds it any more.
        let ran = run(python(DAEMON), &kernel).await;
        assert_eq!(
            (ran.stdout.as_str(), ran.status.code()),
            ("started\n", Some(0))
        );
    }
}

/// [ARCP 18-4] It ends when the runtime lets go, which it does when it ends itself.
#[tokio::test]
async fn everything_ends_when_it_is_let_go() {
    for kernel in both().await {
        let script = format!("{DAEMON}\ntime.sleep(600)");
        let running = started(start(python(&script), &kernel, None).await.unwrap()).await;
        let ran = running.let_go().await;
        assert!(!ran.status.success(), "{ran:?}");
    }
}

/// [ARCP 18-4] Where there is a namespace of processes, not even killing the launcher leaves anybody.
#[tokio::test]
async fn a_killed_launcher_leaves_nobody() {
    let [kernel, _] = both().await;
    let script = format!("{DAEMON}\ntime.sleep(600)");
    let running = started(start(python(&script), &kernel, None).await.unwrap()).await;
    let launcher = i32::try_from(running.child.id().unwrap()).unwrap();
    kill(Pid::from_raw(launcher), Signal::SIGKILL).unwrap();
    assert_eq!(running.end().await.status.signal(), Some(9));
}

/// Whoever waits for the launcher sees how the program ended.
#[tokio::test]
async fn the_status_is_the_programs() {
    for kernel in both().await {
        assert_eq!(run(shell("exit 7"), &kernel).await.status.code(), Some(7));
        assert_eq!(
            run(shell("exit 137"), &kernel).await.status.code(),
            Some(137)
        );
        for signal in [Signal::SIGKILL, Signal::SIGSEGV] {
            let ran = run(shell(&format!("kill -{} $$", signal as i32)), &kernel).await;
            assert_eq!(ran.status.signal(), Some(signal as i32), "{ran:?}");
        }
    }
}

/// The group is asked to end: the program hears it, and the launcher waits for what it does.
#[tokio::test]
async fn a_program_hears_the_signals_of_its_group() {
    for kernel in both().await {
        let script = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\nprint('started', flush=True)\nsignal.pause()";
        let running = started(start(python(script), &kernel, None).await.unwrap()).await;
        let group = i32::try_from(running.child.id().unwrap()).unwrap();
        killpg(Pid::from_raw(group), Signal::SIGTERM).unwrap();
        assert_eq!(running.end().await.status.code(), Some(5));
    }
}

#[tokio::test]
async fn input_and_passed_descriptors_arrive() {
    for kernel in both().await {
        let ran = start(shell("cat"), &kernel, Some(b"from here"))
            .await
            .unwrap()
            .end()
            .await;
        assert_eq!(ran.stdout, "from here");
        let (ours, theirs) = UnixStream::pair().unwrap();
        let script =
            "import os; os.write(int(os.environ['EVENTS']), b'event'); print(os.environ['EVENTS'])";
        let plan = python(script).pass("EVENTS", OwnedFd::from(theirs));
        let ran = start(plan, &kernel, None).await.unwrap().end().await;
        assert!(ran.status.success(), "{ran:?}");
        let mut said = Vec::new();
        ours.set_nonblocking(true).unwrap();
        let mut ours = tokio::net::UnixStream::from_std(ours).unwrap();
        ours.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"event");
    }
}

/// [ARCP 18-1] No inherited descriptors: not one that the runtime left open for whoever it starts.
#[tokio::test]
async fn nothing_is_inherited() {
    let (left, _other) = UnixStream::pair().unwrap();
    rustix::io::fcntl_setfd(&left, rustix::io::FdFlags::empty()).unwrap();
    let tries: Vec<(String, String)> = (3..200)
        .map(|fd| (format!("{fd}"), format!("os.fstat({fd})")))
        .collect();
    let tries: Vec<(&str, &str)> = tries
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    for kernel in both().await {
        let ran = run(python(&attempts("", &tries)), &kernel).await;
        assert_eq!(ran.stdout, "", "{ran:?}");
    }
}

/// [ARCP 18-1] Fails closed: a launcher that is none confines nobody, and no program runs.
#[tokio::test]
async fn a_launcher_that_says_nothing_is_a_refusal() {
    let [kernel, _] = both().await;
    let mut command = std::process::Command::new("true");
    let plan = shell("echo never");
    let mut prepared = plan.prepare(&mut command, &kernel, Input::Nothing).unwrap();
    let mut command = tokio::process::Command::from(command);
    let mut child = command.spawn().unwrap();
    drop(command);
    let refused = prepared.hold.begun().await.unwrap_err();
    assert!(matches!(refused, Refusal::CannotConfine(_)), "{refused}");
    child.wait().await.unwrap();
}

/// The launcher by itself runs nothing: it takes its order from a socket, not from arguments.
#[tokio::test]
async fn the_launcher_takes_no_arguments() {
    for args in [&["echo", "x"][..], &["inner"], &[]] {
        let output = launcher()
            .args(args)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(126), 0));
    }
    assert!(Program::find("./sh").is_err() && Program::find("").is_err());
}
