//! The launcher's two stages.
//!
//! The first takes the order, makes the namespaces, starts the second and stays: it hears whether the runtime is still there,
//! and ends everything when it is not or when the program ended. The second confines itself and becomes the program; or, in a
//! namespace of processes, is its first process, starts the program and ends with it.

use std::{ffi::OsString, fs, os::fd::AsRawFd as _, process::ExitCode};

use super::{exchange::INNER, inner, outer};

/// Whether a launcher's arguments, after those that made its program one, are those of a stage: none for the first.
pub(crate) fn is_stage(args: &[OsString]) -> bool {
    args.is_empty() || *args == [INNER]
}

/// Is a stage of the launcher.
///
/// Call it before any thread is started. It reads an order from standard input, which has to be the runtime's socket.
pub(crate) fn main(stage: Option<&OsString>) -> ExitCode {
    close_all_but_standard();
    if stage.is_some() {
        inner::run()
    } else {
        outer::run()
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
