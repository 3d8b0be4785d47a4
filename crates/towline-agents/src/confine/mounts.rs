//! Mounts: trees that are taken from where they are and put elsewhere, with less.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::StatVfsMountFlags,
    mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount_remount, move_mount, open_tree},
};

/// A tree as it is mounted here, with what is mounted below it, to be put elsewhere.
pub(super) fn clone(of: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(of, path, flags)?)
}

/// Where something is mounted below a directory, relative to it.
pub(super) fn mounted_below(directory: &str) -> io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let below = points.filter_map(|point| {
        let point = unescaped(point);
        let below = Path::new(&point).strip_prefix(directory).ok()?;
        (!below.as_os_str().is_empty()).then(|| below.to_owned())
    });
    Ok(below.collect())
}

/// The table writes space, tab, newline and backslash as octal numbers.
fn unescaped(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The name of what a descriptor is of, for calls that take names only.
pub(super) fn named(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

pub(super) fn move_over(tree: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    move_to(tree, target, "", MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH)
}

pub(super) fn move_to(
    tree: &OwnedFd,
    at: impl AsFd,
    path: &str,
    flags: MoveMountFlags,
) -> io::Result<()> {
    let flags = flags | MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(tree, "", at, path, flags)?)
}

/// Takes from what is mounted there what the program does not need of it. What the system withholds already stays withheld.
pub(super) fn restrict(placed: &OwnedFd, read_only: bool, no_devices: bool) -> io::Result<()> {
    let has = rustix::fs::fstatvfs(placed)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::NOSUID;
    let kept = [
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
    ];
    for (is, keep) in kept {
        if has.contains(is) {
            flags |= keep;
        }
    }
    if read_only {
        flags |= MountFlags::RDONLY;
    }
    if no_devices {
        flags |= MountFlags::NODEV;
    }
    Ok(mount_remount(named(placed), flags, c"")?)
}
