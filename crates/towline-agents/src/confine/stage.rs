//! The launcher's two stages.
//!
//! The first takes the order, makes the namespaces, starts the second and stays: it hears whether the runtime is still there,
//! and ends everything when it is not or when the program ended. The second confines itself and becomes the program; or, in a
//! namespace of processes, is its first process, starts the program and ends with it.

use std::{ffi::OsString, fs, os::fd::AsRawFd as _, process::ExitCode};

use super::{inner, outer};

/// What the first stage tells the second.
pub(super) const INNER: &str = "inner";

/// The status when the program was not run, as shells have it.
pub(super) const NOT_RUN: u8 = 126;

/// Is the launcher, with the arguments after those that made this program one: none, from the runtime.
///
/// Call it before any thread is started. It reads an order from standard input, which has to be the runtime's socket.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    close_all_but_standard();
    match args.next() {
        None => outer::run(),
        Some(stage) if stage == INNER => inner::run(),
        // Nobody but a runtime starts this, and it gives no arguments.
        Some(_) => ExitCode::from(NOT_RUN),
    }
}

/// Closes what was left open by whoever started us.
fn close_all_but_standard() {
    let mut open = Vec::new();
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        open.extend(
            entries
                .flatten()
                .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()),
        );
    } else {
        open.extend(3..1024);
    }
    let standard = std::io::stderr().as_raw_fd();
    for number in open.into_iter().filter(|number| *number > standard) {
        // The listing had one itself, which is closed already.
        let _ = nix::unistd::close(number);
    }
}
