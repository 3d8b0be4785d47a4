//! From a path to an open directory and a name in it, link by link.

use std::io;

use cap_fs_ext::{DirExt as _, FollowSymlinks, OpenOptionsFollowExt as _, OpenOptionsSyncExt as _};
use cap_std::{
    ambient_authority,
    fs::{Dir, File, Metadata, OpenOptions},
};
use towline_proto::lease::Denial;

/// Whether a path may be used; asked again for what a link leads to.
pub(super) type May<'a> = &'a dyn Fn(&str) -> Result<(), Denial>;

/// A place in the file system: a name in an open directory.
///
/// It is reached from the root in steps that never follow a link unseen, so what is done with the name afterwards happens
/// in just that directory, whatever is renamed or replaced meanwhile. The name itself is never followed.
pub(super) struct Place {
    dir: Dir,
    /// `None` when the place is the directory itself: the root, or what a link such as `..` led to.
    name: Option<String>,
    /// Where it really is: no part of it, save perhaps the last, is a link.
    path: String,
}

/// Why an operation on files did not happen.
#[derive(Debug)]
pub(super) enum Fault {
    /// The lease does not cover where a link leads.
    Denied {
        /// Where it leads.
        path: String,
        denial: Denial,
    },
    /// The file system said no.
    Io(io::Error),
}

/// What to do when the last part of a path is a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// The operation is about what it leads to.
    Follow,
    /// The operation is about the link.
    Keep,
}

impl Place {
    /// Finds the place of a normalised absolute path. Where links led is checked with `may`; what the lease does not
    /// cover there is denied whether or not it exists.
    pub(super) fn find(path: &str, last: Last, may: May<'_>) -> Result<Self, Fault> {
        let mut way = Way::from_root(path)?;
        let found = way.walk(last);
        if way.links > 0 {
            let path = way.path();
            may(&path).map_err(|denial| Fault::Denied { path, denial })?;
        }
        let name = found?;
        let path = way.path();
        Ok(Self {
            dir: way.into_dir()?,
            name,
            path,
        })
    }

    /// Where it really is.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Opens the file. Never waits for the other end of a pipe.
    pub(super) fn open(&self, options: &mut OpenOptions) -> io::Result<File> {
        options.follow(FollowSymlinks::No).nonblock(true);
        self.dir.open_with(self.named()?, options)
    }

    /// Opens the directory.
    pub(super) fn open_dir(self) -> io::Result<Dir> {
        match &self.name {
            Some(name) => self.dir.open_dir_nofollow(name),
            None => Ok(self.dir),
        }
    }

    /// What is there.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        match &self.name {
            Some(name) => self.dir.symlink_metadata(name),
            None => self.dir.dir_metadata(),
        }
    }

    /// Makes it a directory.
    pub(super) fn create_dir(&self) -> io::Result<()> {
        self.dir.create_dir(self.named()?)
    }

    /// Removes the file, or the link.
    pub(super) fn remove_file(&self) -> io::Result<()> {
        self.dir.remove_file_or_symlink(self.named()?)
    }

    /// Removes the directory, which has to be empty.
    pub(super) fn remove_dir(&self) -> io::Result<()> {
        self.dir.remove_dir(self.named()?)
    }

    fn named(&self) -> io::Result<&str> {
        let name = self.name.as_deref();
        name.ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The way to a place: the directories entered so far, and the names still to go.
struct Way {
    root: Dir,
    entered: Vec<(String, Dir)>,
    /// The next name is the last of it.
    todo: Vec<String>,
    links: u32,
}

impl Way {
    fn from_root(path: &str) -> io::Result<Self> {
        let root = Dir::open_ambient_dir("/", ambient_authority())?;
        let mut way = Self {
            root,
            entered: Vec::new(),
            todo: Vec::new(),
            links: 0,
        };
        way.go_on_to(path);
        Ok(way)
    }

    fn go_on_to(&mut self, path: &str) {
        let names = path
            .split('/')
            .filter(|name| !name.is_empty() && *name != ".");
        self.todo.extend(names.rev().map(str::to_owned));
    }

    /// Goes to the last name and gives it; the name is left in `todo`, so that [`Way::path`] tells the place, also after
    /// an error.
    fn walk(&mut self, last: Last) -> io::Result<Option<String>> {
        while let Some(name) = self.todo.last().cloned() {
            if name == ".." {
                self.todo.pop();
                self.entered.pop();
                continue;
            }
            let is_last = self.todo.len() == 1;
            if is_last && (last == Last::Keep || !self.is_link(&name)?) {
                return Ok(Some(name));
            }
            match self.here().open_dir_nofollow(&name) {
                Ok(dir) => {
                    self.todo.pop();
                    self.entered.push((name, dir));
                }
                Err(_) if self.is_link(&name)? => self.follow(&name)?,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn is_link(&self, name: &str) -> io::Result<bool> {
        match self.here().symlink_metadata(name) {
            Ok(found) => Ok(found.is_symlink()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn follow(&mut self, name: &str) -> io::Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(io::Error::other("too many links, one leading to the next"));
        }
        let target = self.here().read_link_contents(name)?;
        let target = target
            .to_str()
            .ok_or_else(|| io::Error::other("a link leads to a name that is not UTF-8"))?;
        self.todo.pop();
        if target.starts_with('/') {
            self.entered.clear();
        }
        self.go_on_to(target);
        Ok(())
    }

    fn here(&self) -> &Dir {
        self.entered.last().map_or(&self.root, |(_, dir)| dir)
    }

    fn into_dir(mut self) -> io::Result<Dir> {
        Ok(self.entered.pop().map_or(self.root, |(_, dir)| dir))
    }

    /// The way so far and what is to go of it, in normal form.
    fn path(&self) -> String {
        let mut names: Vec<&str> = self.entered.iter().map(|(name, _)| name.as_str()).collect();
        for name in self.todo.iter().rev() {
            match name.as_str() {
                ".." => drop(names.pop()),
                name => names.push(name),
            }
        }
        format!("/{}", names.join("/"))
    }
}

/// As many links as Linux follows for one path.
const MAX_LINKS: u32 = 40;
