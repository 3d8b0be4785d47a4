//! The files a program sees: a root of its own that has what was granted and what programs need, and nothing else.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    fs::{CWD, FileType, Mode as Bits, OFlags},
    io::Errno,
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags, mount, mount_change,
        mount_remount, unmount,
    },
};

use super::{
    exchange::{Descriptors, Order},
    mounts::{clone, mounted_below, move_over, move_to, named, restrict},
    place::open_exactly,
    report::{Refusal, because},
    system::SystemPlace,
};

/// Where the new root is put together before it becomes the root; whatever is there comes back into view with the old root.
const BASE: &str = "/tmp";

/// The greatest number of a process, in the namespace that shows it.
const PID_MAX: &str = "sys/kernel/pid_max";

/// Process numbers below this are not given again once they were used, so a namespace needs them beside its bound.
const RESERVED_NUMBERS: u64 = 300;

/// What of `/proc` is the machine's and not the program's: read by root it tells too much, and it is of no use to programs.
const MACHINE: [&str; 19] = [
    "acpi",
    "cmdline",
    "config.gz",
    "diskstats",
    "interrupts",
    "iomem",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "modules",
    "sched_debug",
    "slabinfo",
    "timer_list",
    "vmallocinfo",
];

/// Devices without a machine behind them.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// What came of it.
#[derive(Default)]
pub(super) struct Got {
    /// `/proc`, where it could be had.
    pub(super) proc: Option<OwnedFd>,
    /// File systems in memory, of the program's own and empty.
    pub(super) scratch: Vec<OwnedFd>,
    /// Whether the numbers of processes are bounded.
    pub(super) numbers: bool,
    /// What is hidden.
    pub(super) masked: Vec<PathBuf>,
}

/// A tree to be put into the new root, taken before anything covers it.
struct Tree {
    path: PathBuf,
    tree: OwnedFd,
    held: Option<OwnedFd>,
    directory: bool,
    writes: bool,
    own: bool,
}

/// Makes a namespace of mounts with the new root, and goes there.
pub(super) fn build(
    order: &Order,
    descriptors: &Descriptors,
    system: &[SystemPlace],
) -> Result<Got, Refusal> {
    let what = because("a view of the files of its own");
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| what(error.into()))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|error| what(error.into()))?;
    let trees = trees(order, descriptors, system)?;
    let devices = devices().map_err(&what)?;
    let blanks = blanks(order, &trees).map_err(&what)?;
    let mut root = Root::begin(&trees, order).map_err(&what)?;
    root.proc(order.limits.processes).map_err(&what)?;
    root.devices(devices).map_err(&what)?;
    for place in system {
        if let Some(target) = &place.link {
            root.link(&place.path, target).map_err(&what)?;
        }
    }
    let (own, given): (Vec<_>, Vec<_>) = trees.into_iter().partition(|tree| tree.own);
    for tree in given {
        let what = format!("`{}`", tree.path.display());
        root.give(tree).map_err(because(&what))?;
    }
    let masked = root.hide(blanks, &own)?;
    for tree in own {
        let what = format!("`{}`", tree.path.display());
        root.give(tree).map_err(because(&what))?;
    }
    for around in std::mem::take(&mut root.around) {
        restrict(&around, true, true).map_err(&what)?;
    }
    // Where the program starts is there, if nothing else: what was granted below it is found from there.
    root.start(&order.directory, &descriptors.directory)?;
    root.restrict_below().map_err(&what)?;
    let mut got = root.enter().map_err(what)?;
    got.masked = masked;
    Ok(got)
}

/// Whether two descriptors are of one file.
pub(super) fn same(one: impl AsFd, other: impl AsFd) -> bool {
    let of = |fd: &dyn Fn() -> rustix::io::Result<rustix::fs::Stat>| {
        fd().map(|stat| (stat.st_dev, stat.st_ino)).ok()
    };
    let (one, other) = (
        of(&|| rustix::fs::fstat(&one)),
        of(&|| rustix::fs::fstat(&other)),
    );
    one.is_some() && one == other
}

fn trees(
    order: &Order,
    descriptors: &Descriptors,
    system: &[SystemPlace],
) -> Result<Vec<Tree>, Refusal> {
    let mut trees = Vec::new();
    for place in system.iter().filter(|place| place.link.is_none()) {
        let here = open_exactly(CWD, &place.real).map_err(because(&place.path))?;
        let tree = clone(here, "").map_err(because(&place.path))?;
        trees.push(Tree {
            path: PathBuf::from(&place.path),
            tree,
            held: None,
            directory: place.directory,
            writes: false,
            own: false,
        });
    }
    let program =
        (!order.probe).then_some((&order.program, false, false, false, &descriptors.program));
    let granted = order.granted.iter().zip(&descriptors.granted);
    let granted = granted.map(|(place, fd)| {
        (
            &place.path,
            place.directory,
            place.access.writes(),
            place.own,
            fd,
        )
    });
    for (path, directory, writes, own, fd) in granted.chain(program) {
        let what = format!("`{path}`");
        // The descriptor is of the runtime's namespace of mounts; what is put here has to be of this one, and the same.
        let here = open_exactly(CWD, path.as_ref()).map_err(because(&what))?;
        if !same(&here, fd) {
            let replaced = io::Error::other("another one is there now");
            return Err(because(&what)(replaced));
        }
        trees.push(Tree {
            path: PathBuf::from(path),
            tree: clone(&here, "").map_err(because(&what))?,
            held: Some(here),
            directory,
            writes,
            own,
        });
    }
    // Outer ones first; of one place the writable one.
    trees.sort_by(|one, other| (&one.path, !one.writes).cmp(&(&other.path, !other.writes)));
    Ok(trees)
}

fn devices() -> io::Result<Vec<(&'static str, OwnedFd)>> {
    let mut found = Vec::new();
    for name in DEVICES {
        match open_exactly(CWD, &Path::new("/dev").join(name)) {
            Ok(device) => found.push((name, clone(device, "")?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Something empty, that nobody may read or change, for each hidden file or directory inside of a granted tree.
fn blanks(order: &Order, trees: &[Tree]) -> io::Result<Vec<(PathBuf, OwnedFd)>> {
    let seen = |path: &Path| trees.iter().any(|tree| path.starts_with(&tree.path));
    let hidden: Vec<(&Path, bool)> = order
        .hidden
        .iter()
        .map(Path::new)
        .filter(|path| seen(path))
        .filter_map(|path| Some((path, fs::symlink_metadata(path).ok()?.is_dir())))
        .collect();
    if hidden.is_empty() {
        return Ok(Vec::new());
    }
    mount(
        "tmpfs",
        BASE,
        "tmpfs",
        small(),
        c"mode=0755,size=4k,nr_inodes=8",
    )?;
    let base = open_exactly(CWD, BASE.as_ref())?;
    rustix::fs::mkdirat(&base, "directory", Bits::empty())?;
    file(&base, "file", Bits::empty())?;
    let mut found = Vec::new();
    for (path, directory) in hidden {
        let name = if directory { "directory" } else { "file" };
        let blank = open_exactly(&base, name.as_ref())?;
        found.push((path.to_owned(), clone(blank, "")?));
    }
    unmount(BASE, UnmountFlags::DETACH)?;
    Ok(found)
}

fn small() -> MountFlags {
    MountFlags::NOSUID | MountFlags::NODEV
}

fn file(at: impl AsFd, name: &str, bits: Bits) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, bits)?;
    Ok(())
}

/// The new root while it is put together.
struct Root {
    fd: OwnedFd,
    /// What is in place, and whether it may be written to.
    given: Vec<(PathBuf, bool)>,
    /// What is hidden but for something in it, and not closed yet.
    around: Vec<OwnedFd>,
    /// Whether the root itself is a granted tree.
    whole: bool,
    got: Got,
}

impl Root {
    fn begin(trees: &[Tree], order: &Order) -> io::Result<Self> {
        let root = trees.iter().find(|tree| tree.path == Path::new("/"));
        match root {
            Some(root) => {
                move_to(&root.tree, CWD, BASE, MoveMountFlags::empty())?;
            }
            None => mount(
                "tmpfs",
                BASE,
                "tmpfs",
                small(),
                c"mode=0755,size=1m,nr_inodes=8k",
            )?,
        }
        let mut this = Self {
            fd: open_exactly(CWD, BASE.as_ref())?,
            given: Vec::new(),
            around: Vec::new(),
            whole: root.is_some(),
            got: Got::default(),
        };
        if let Some(root) = root {
            restrict(&this.fd, !root.writes, true)?;
            this.given.push((PathBuf::from("/"), root.writes));
        } else {
            let options = format!("mode=1777,size={},nr_inodes=64k", order.limits.scratch);
            this.scratch("/tmp", &options)?;
        }
        Ok(this)
    }

    /// A file system in memory, of the program's own.
    fn scratch(&mut self, path: &str, options: &str) -> io::Result<()> {
        let target = self.target(Path::new(path), true)?;
        let options = std::ffi::CString::new(options)?;
        mount(
            "tmpfs",
            named(&target),
            "tmpfs",
            small(),
            options.as_c_str(),
        )?;
        self.given.push((PathBuf::from(path), true));
        self.got.scratch.push(self.find(Path::new(path))?);
        Ok(())
    }

    /// `/proc` of the program's own processes, which it may read; an empty directory where this system lets none be made.
    fn proc(&mut self, processes: Option<u64>) -> io::Result<()> {
        let target = self.target(Path::new("/proc"), true)?;
        let flags = small() | MountFlags::NOEXEC;
        match mount("proc", named(&target), "proc", flags, None) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::ACCESS) if !self.whole => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let proc = self.target(Path::new("/proc"), true)?;
        self.got.numbers = processes.is_some_and(|count| {
            let most = RESERVED_NUMBERS.saturating_add(count).to_string();
            fs::write(format!("{}/{PID_MAX}", named(&proc)), most).is_ok()
        });
        for name in MACHINE {
            let Ok(there) = open_exactly(&proc, name.as_ref()) else {
                continue;
            };
            if FileType::from_raw_mode(rustix::fs::fstat(&there)?.st_mode) == FileType::Directory {
                mount(
                    "tmpfs",
                    named(&there),
                    "tmpfs",
                    small() | MountFlags::RDONLY,
                    c"mode=0555,size=4k",
                )?;
            } else {
                let null = clone(open_exactly(CWD, Path::new("/dev/null"))?, "")?;
                move_over(&null, &there)?;
            }
        }
        let flags = MountFlags::BIND | MountFlags::RDONLY | flags;
        mount_remount(named(&proc), flags, c"")?;
        self.given.push((PathBuf::from("/proc"), false));
        self.got.proc = Some(proc);
        Ok(())
    }

    fn devices(&mut self, devices: Vec<(&str, OwnedFd)>) -> io::Result<()> {
        if self.whole {
            let target = self.target(Path::new("/dev"), true)?;
            mount(
                "tmpfs",
                named(&target),
                "tmpfs",
                small(),
                c"mode=0755,size=64k,nr_inodes=64",
            )?;
        }
        for (name, device) in devices {
            let target = self.target(&Path::new("/dev").join(name), false)?;
            move_over(&device, &target)?;
        }
        let directory = self.target(Path::new("/dev"), true)?;
        for (name, leads) in [
            ("fd", ""),
            ("stdin", "/0"),
            ("stdout", "/1"),
            ("stderr", "/2"),
        ] {
            rustix::fs::symlinkat(format!("/proc/self/fd{leads}"), &directory, name)?;
        }
        self.scratch("/dev/shm", "mode=1777,size=64m,nr_inodes=4k")
    }

    fn link(&self, path: &str, target: &Path) -> io::Result<()> {
        if self.whole {
            return Ok(());
        }
        let path = Path::new(path);
        let parent = self.target(path.parent().unwrap_or(Path::new("/")), true)?;
        let name = path.file_name().unwrap_or_default();
        Ok(rustix::fs::symlinkat(target, parent, name)?)
    }

    /// Puts a tree where it was.
    fn give(&mut self, tree: Tree) -> io::Result<()> {
        let around = self
            .given
            .iter()
            .rfind(|(path, _)| tree.path.starts_with(path));
        // Inside what is there already it is there already, unless a file system in memory or a hidden place is.
        let there = around
            .filter(|(_, writes)| *writes || !tree.writes)
            .filter(|_| !tree.own)
            .and_then(|_| self.find(&tree.path).ok())
            .zip(tree.held.as_ref())
            .is_some_and(|(there, held)| same(there, held));
        if there {
            return Ok(());
        }
        let target = self.target(&tree.path, tree.directory)?;
        move_over(&tree.tree, &target)?;
        let placed = self.find(&tree.path)?;
        // What came in by the wish of a lease holds no devices.
        restrict(&placed, !tree.writes, tree.held.is_some())?;
        self.given.push((tree.path, tree.writes));
        Ok(())
    }

    /// Puts blanks over what is hidden.
    fn hide(
        &mut self,
        blanks: Vec<(PathBuf, OwnedFd)>,
        own: &[Tree],
    ) -> Result<Vec<PathBuf>, Refusal> {
        let mut masked = Vec::new();
        for (path, blank) in blanks {
            let cannot = |_| Refusal::Protected {
                grant: path.clone(),
                path: path.clone(),
            };
            let target = match self.find(&path) {
                Ok(target) => target,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(cannot(error)),
            };
            if own.iter().any(|tree| tree.path.starts_with(&path)) {
                // Something in it is the program's own: its place is made first.
                mount(
                    "tmpfs",
                    named(&target),
                    "tmpfs",
                    small(),
                    c"mode=0711,size=4k,nr_inodes=64",
                )
                .map_err(|error| cannot(error.into()))?;
                let placed = self.find(&path).map_err(cannot)?;
                self.around.push(placed);
            } else {
                self.pin_above(&path).map_err(cannot)?;
                let target = self.find(&path).map_err(cannot)?;
                move_over(&blank, &target).map_err(cannot)?;
                let placed = self.find(&path).map_err(cannot)?;
                restrict(&placed, true, true).map_err(cannot)?;
            }
            masked.push(path);
        }
        Ok(masked)
    }

    /// Makes the directories between a granted tree and what is hidden in it places of their own, which cannot be renamed: else
    /// a program could move them away, and put others with another file in their place.
    fn pin_above(&self, hidden: &Path) -> io::Result<()> {
        let around = self
            .given
            .iter()
            .rfind(|(given, _)| hidden.starts_with(given));
        let Some((given, true)) = around else {
            return Ok(());
        };
        let above = hidden.ancestors().skip(1);
        let mut above: Vec<_> = above.take_while(|path| *path != given).collect();
        // Outer ones first, for they would cover the inner ones.
        above.reverse();
        for directory in above {
            let place = self.find(directory)?;
            move_over(&clone(&place, "")?, &place)?;
        }
        Ok(())
    }

    /// What stands there in the new root.
    fn find(&self, path: &Path) -> io::Result<OwnedFd> {
        match path.strip_prefix("/") {
            Ok(below) if below.as_os_str().is_empty() => open_exactly(&self.fd, Path::new(".")),
            Ok(below) => open_exactly(&self.fd, below),
            Err(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Where a tree is to go; made, where it is not there.
    fn target(&self, path: &Path, directory: bool) -> io::Result<OwnedFd> {
        match self.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let parent = match path.parent() {
            Some(parent) => self.target(parent, true)?,
            None => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if directory {
            let bits = Bits::RWXU | Bits::RGRP | Bits::XGRP | Bits::ROTH | Bits::XOTH;
            rustix::fs::mkdirat(&parent, name.as_ref(), bits)?;
        } else {
            file(&parent, &name, Bits::RUSR)?;
        }
        self.find(path)
    }

    fn start(&self, path: &str, held: &OwnedFd) -> Result<(), Refusal> {
        let what = format!("the directory to start in, `{path}`");
        let path = Path::new(path);
        match self.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.target(path, true).map(drop).map_err(because(&what))
            }
            Err(error) => Err(because(&what)(error)),
            Ok(there) if same(&there, held) || !self.is_given(path) => Ok(()),
            Ok(_) => Err(because(&what)(io::Error::other("another one is there now"))),
        }
    }

    /// Whether a path is in a tree that was put here, and not in what was made for one.
    fn is_given(&self, path: &Path) -> bool {
        let around = self
            .given
            .iter()
            .rfind(|(given, _)| path.starts_with(given));
        around.is_some_and(|(given, _)| {
            ![Path::new("/tmp"), Path::new("/dev/shm")].contains(&given.as_path())
        })
    }

    /// What is mounted below a tree came in with it, and is to be no more than it.
    fn restrict_below(&self) -> io::Result<()> {
        for point in mounted_below(BASE)? {
            let path = Path::new("/").join(&point);
            let of = self
                .given
                .iter()
                .rfind(|(given, _)| path.starts_with(given));
            let Some((given, writes)) = of else { continue };
            let ours = path.starts_with("/proc") || path.starts_with("/dev") || *given == path;
            if !ours {
                // The kernel's own settings are not files that anybody writes to.
                let read_only = !writes || path.starts_with("/sys");
                restrict(&self.find(&path)?, read_only, true)?;
            }
        }
        Ok(())
    }

    /// Makes it the root, and lets go of the old one.
    fn enter(self) -> io::Result<Got> {
        rustix::process::fchdir(&self.fd)?;
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")?;
        if !self.whole {
            let flags = MountFlags::BIND | MountFlags::RDONLY | small();
            mount_remount("/", flags, c"")?;
        }
        Ok(self.got)
    }
}
