//! What a program is to get, put together by the runtime, and handed to a launcher.

use std::{
    fs::{self, Metadata},
    io::{self, PipeWriter},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
};

use crate::limits::Limits;

use super::{
    door::Door,
    exchange::{Access, Granted, MAX_DESCRIPTORS, Mode, Order},
    hold::{Hold, hand_over},
    kernel::Kernel,
    network::Ordered,
    place::{Place, Program, Protected},
    report::Refusal,
};

/// What a program on standard input gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Nothing: its end at once.
    Nothing,
    /// What is written into the [`Prepared::stdin`].
    Piped,
}

/// A program, and everything it gets. What is not named here it does not get.
///
/// Beside this it always gets the system's programs and libraries, `/dev/null`, `/dev/zero` and randomness; and where it has
/// namespaces of its own, a `/proc` of its own and an empty `/tmp` that ends with it. It gets no network, no socket but
/// pairs, no capability, no other process; with a [`Door`], TCP to that.
#[derive(Debug)]
pub struct Plan {
    program: Program,
    args: Vec<String>,
    env: Vec<(String, String)>,
    directory: Option<Place>,
    granted: Vec<(Place, Access, bool)>,
    passed: Vec<(String, OwnedFd)>,
    limits: Limits,
    hidden: Vec<PathBuf>,
    /// Hidden directories that are not there.
    missing: Vec<PathBuf>,
    door: Option<Ordered>,
    /// Where the launcher puts the listener of the door.
    listener: Option<OwnedFd>,
}

/// What [`Plan::prepare`] gives beside the command.
#[derive(Debug)]
pub struct Prepared {
    /// Hears the launcher and holds the program: dropped, it ends everything the program started.
    pub hold: Hold,
    /// The other end of the program's standard input, with [`Input::Piped`].
    pub stdin: Option<PipeWriter>,
}

/// Directories that are the machine itself, and whether a grant of them is refused for reading too. Who writes below `/sys`
/// with the rights of root sets what the kernel runs, also without a capability.
const MACHINE: [(&str, bool); 3] = [("/dev", true), ("/proc", true), ("/sys", false)];

/// A place that is given, looked at beside one of towline's own files.
struct Gift<'p> {
    place: &'p Place,
    writes: bool,
    /// On the operator's word.
    own: bool,
}

impl Gift<'_> {
    /// Refuses it where the file cannot be kept from the program.
    fn check(&self, mode: Mode, hidden: &Path, found: Option<&Metadata>) -> Result<(), Refusal> {
        let (grant, path) = (self.place.path().to_owned(), hidden.to_owned());
        // A place inside of what is hidden, or one that cannot be had without it.
        let inside = grant.starts_with(hidden) && !self.own;
        let around = hidden.starts_with(&grant);
        let Some(found) = found else {
            if inside {
                return Err(Refusal::Protected { grant, path });
            }
            if around && self.writes && !self.own {
                return Err(Refusal::NotThere { grant, path });
            }
            return Ok(());
        };
        if inside || around && (self.own || mode == Mode::Plain) {
            return Err(Refusal::Protected { grant, path });
        }
        // A file can be hidden under a name that is known; its other names are not.
        if found.is_file() && found.nlink() > 1 && self.may_hold(found) {
            return Err(Refusal::Linked { grant, path });
        }
        Ok(())
    }

    /// Whether a name of this file may be here: names do not go from one file system to another.
    fn may_hold(&self, file: &Metadata) -> bool {
        let Ok(stat) = rustix::fs::fstat(self.place) else {
            return true;
        };
        let same = stat.st_ino == file.ino();
        stat.st_dev == file.dev() && (self.place.is_directory() || same)
    }
}

impl Plan {
    /// A program that gets nothing yet.
    pub fn new(program: Program) -> Self {
        Self {
            program,
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            granted: Vec::new(),
            passed: Vec::new(),
            limits: Limits::default(),
            hidden: Vec::new(),
            missing: Vec::new(),
            door: None,
            listener: None,
        }
    }

    /// Adds arguments after the program's name.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of its environment, which is empty else. The launcher never has it.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Where it starts. Default: `/`. It has to be in a place it gets, to be of use.
    #[must_use]
    pub fn directory(mut self, place: Place) -> Self {
        self.directory = Some(place);
        self
    }

    /// Gives a place; with a directory all that is below it.
    #[must_use]
    pub fn grant(mut self, place: Place, access: Access) -> Self {
        self.granted.push((place, access, false));
        self
    }

    /// Gives a place on the operator's word: it may lie inside what [`Plan::protect`] hides. For a state directory of the
    /// agent's own.
    #[must_use]
    pub fn grant_own(mut self, place: Place, access: Access) -> Self {
        self.granted.push((place, access, true));
        self
    }

    /// Hides these, also inside of a granted place.
    #[must_use]
    pub fn protect(mut self, protected: &Protected) -> Self {
        self.hidden.extend(protected.now());
        self.missing.extend(protected.missing());
        self
    }

    /// Lets it connect to a door, over TCP, and read whom the system trusts.
    #[must_use]
    pub fn door(mut self, door: &mut Door) -> Self {
        self.door = Some(door.ordered());
        self.listener = door.theirs();
        self
    }

    /// Sets what it may use up.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Passes a descriptor on; its number is in the variable of that name.
    #[must_use]
    pub fn pass(mut self, name: impl Into<String>, descriptor: OwnedFd) -> Self {
        self.passed.push((name.into(), descriptor));
        self
    }

    /// Makes a command of a launcher into one that runs this program, with the standard output and error of the command.
    /// Its standard input, environment and directory are set here. Start it, then hear [`Hold::begun`].
    ///
    /// # Errors
    /// Something cannot be held here, or one of towline's own files cannot be hidden.
    pub fn prepare(
        self,
        launcher: &mut Command,
        kernel: &Kernel,
        input: Input,
    ) -> Result<Prepared, Refusal> {
        let mode = kernel.mode()?;
        self.make_missing();
        self.check(mode)?;
        let broken = |error: io::Error| Refusal::CannotConfine(error.to_string());
        let (read, write) = match input {
            Input::Nothing => (fs::File::open("/dev/null").map_err(broken)?.into(), None),
            Input::Piped => {
                let (read, write) = io::pipe().map_err(broken)?;
                (OwnedFd::from(read), Some(write))
            }
        };
        let directory = match &self.directory {
            Some(place) => place,
            None => &Place::open("/").map_err(broken)?,
        };
        let order = self.order(mode, directory);
        let mut descriptors = vec![
            read.as_fd(),
            self.program.place().as_fd(),
            directory.as_fd(),
        ];
        descriptors.extend(self.granted.iter().map(|(place, ..)| place.as_fd()));
        descriptors.extend(self.passed.iter().map(|(_, descriptor)| descriptor.as_fd()));
        descriptors.extend(self.listener.iter().map(AsFd::as_fd));
        let hold = hand_over(launcher, &order, &descriptors).map_err(broken)?;
        Ok(Prepared { hold, stdin: write })
    }

    /// Makes the hidden directories that are not there and that the program could make.
    fn make_missing(&self) {
        use std::os::unix::fs::DirBuilderExt as _;

        let gifts = || {
            self.granted
                .iter()
                .filter(|(_, access, own)| access.writes() && !own)
        };
        let may_be_made =
            |path: &&PathBuf| gifts().any(|(place, ..)| path.starts_with(place.path()));
        for path in self.missing.iter().filter(may_be_made) {
            // Where it cannot be made the job is refused.
            let _ = fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path);
        }
    }

    fn check(&self, mode: Mode) -> Result<(), Refusal> {
        // One is the text of the order, three stand for input, program and directory, one for the listener.
        if self.granted.len() + self.passed.len() + 5 > MAX_DESCRIPTORS {
            return Err(Refusal::CannotConfine(format!(
                "{} files and directories are granted, more than {}: grant a directory above them",
                self.granted.len(),
                MAX_DESCRIPTORS - 5,
            )));
        }
        let hidden: Vec<_> = self
            .hidden
            .iter()
            .map(|path| (path, fs::symlink_metadata(path).ok()))
            .collect();
        for (place, access, own) in &self.granted {
            let path = place.path();
            for (hidden, found) in &hidden {
                let gift = Gift {
                    place,
                    writes: access.writes(),
                    own: *own,
                };
                gift.check(mode, hidden, found.as_ref())?;
            }
            // Device files reach below the file system, with the rights of root a whole disk; and other processes are not
            // what a lease for files is about, nor is the kernel. A namespace covers these with its own.
            for (machine, always) in MACHINE {
                let machine = Path::new(machine);
                let around = machine.starts_with(path) && mode == Mode::Plain;
                let inside = path.starts_with(machine) && path != Path::new("/dev/null");
                if (always || access.writes()) && (around || inside) {
                    return Err(Refusal::Protected {
                        grant: path.to_owned(),
                        path: machine.to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    fn order(&self, mode: Mode, directory: &Place) -> Order {
        let granted = self.granted.iter().map(|(place, access, own)| Granted {
            path: place.text(),
            directory: place.is_directory(),
            access: *access,
            own: *own,
        });
        let hidden = self.hidden.iter();
        Order {
            mode,
            probe: false,
            program: self.program.place().text(),
            script: self.program.is_script(),
            arg0: self.program.given().to_owned(),
            args: self.args.clone(),
            env: self.env.clone(),
            directory: directory.text(),
            granted: granted.collect(),
            passed: self.passed.iter().map(|(name, _)| name.clone()).collect(),
            hidden: hidden
                .map(|path| path.to_string_lossy().into_owned())
                .collect(),
            limits: self.limits.clone(),
            door: self.door,
        }
    }
}
