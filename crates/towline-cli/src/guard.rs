//! Whose a file or directory is, before this program believes it.
//!
//! Configuration names programs to run, and a store names jobs and the sessions they belong to: whoever may write one of
//! them acts as whoever runs this program [ARCP 14-9]. So they have to be this user's own, or root's, and nobody else may
//! write them. A link is not followed where this program chose the name.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use crate::{
    failure::{Failure, Outcome},
    output,
};

/// Refuses a data directory that is not ours alone. One that is not there yet is fine.
pub(crate) fn directory(path: &Path) -> Outcome<()> {
    let Some(found) = look(path)? else {
        return Ok(());
    };
    let fault = if found.is_symlink() {
        Some("is a link; name the directory it leads to".to_owned())
    } else if found.is_dir() {
        fault(&found)
    } else {
        Some("is no directory".to_owned())
    };
    refuse("data directory", path, fault)?;
    if let Some(seen) = seen(&found) {
        // The files in it are ours alone; which there are, and when they change, is not.
        tracing::warn!(
            "the data directory `{0}` {seen}; `chmod go= {0}` keeps it to you",
            path.display()
        );
    }
    Ok(())
}

/// Refuses a store, or what SQLite keeps beside it, that is not ours alone; and one in a directory where others could put
/// theirs in its place. One that is not there yet is fine.
pub(crate) fn store(path: &Path) -> Outcome<()> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    let above = above.unwrap_or(Path::new("."));
    if let Ok(found) = fs::metadata(above) {
        // In a directory like /tmp nobody replaces what is not theirs.
        let fault = fault(&found).filter(|_| !is_sticky(&found));
        refuse("directory of the store", above, fault)?;
    }
    for file in store_files(path) {
        let Some(found) = look(&file)? else { continue };
        let fault = if found.is_file() {
            fault(&found)
        } else {
            Some("is no plain file; name the file itself".to_owned())
        };
        refuse("store", &file, fault)?;
    }
    Ok(())
}

/// A store's file, and those that SQLite keeps beside it.
pub(crate) fn store_files(path: &Path) -> [PathBuf; 4] {
    ["", "-wal", "-shm", "-journal"].map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    })
}

/// Refuses the file of a secret that is not ours alone. One that is not there yet is fine.
pub(crate) fn secret(path: &Path) -> Outcome<()> {
    let Some(found) = look(path)? else {
        return Ok(());
    };
    let fault = if found.is_file() {
        fault(&found)
    } else {
        Some("is no plain file".to_owned())
    };
    refuse("kept token", path, fault)
}

/// Looks at the file of a secret that a person named; it may be a link. One that others may write is refused, for they would
/// choose the secret, and one that everybody may read is warned of. Whether it is there is for whoever reads it.
pub(crate) fn given_secret(path: &Path) -> Outcome<()> {
    given_proof(path)?;
    if let Ok(found) = fs::metadata(path)
        && is_open(&found)
    {
        output::note(&format!(
            "warning: everybody on this machine may read the secret in `{}`; `chmod go-rwx` keeps it",
            path.display()
        ));
    }
    Ok(())
}

/// Looks at a file that says what proves who somebody is: whoever may write it may be anybody.
pub(crate) fn given_proof(path: &Path) -> Outcome<()> {
    let found = fs::metadata(path).ok().filter(Metadata::is_file);
    let fault = found.and_then(|found| fault(&found));
    refuse("file", path, fault)
}

/// The text of a configuration file. `named` by a person it may be anywhere and a link; found, it is neither.
///
/// # Errors
/// Also when it is not there: `Ok(None)` is for one that was only looked for.
pub(crate) fn configuration(path: &Path, named: bool) -> Outcome<Option<String>> {
    let unreadable = |error: io::Error| {
        let message = format!(
            "cannot read the configuration file `{}`: {error}",
            path.display()
        );
        Failure::usage(message).help("name another with --config, or leave --config out")
    };
    let mut file = match open(path, named) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !named => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    // Of the open file, so that what is read is what was looked at.
    let found = file.metadata().map_err(unreadable)?;
    let fault = if named || found.is_file() {
        fault(&found).filter(|_| found.is_file())
    } else {
        Some("is no plain file".to_owned())
    };
    if let Some(fault) = fault {
        let message = format!("the configuration file `{}` {fault}", path.display());
        return Err(Failure::usage(message).help(REMEDY));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(unreadable)?;
    Ok(Some(text))
}

#[cfg(unix)]
fn open(path: &Path, named: bool) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt as _;

    let mut options = fs::OpenOptions::new();
    options.read(true);
    if !named {
        // A pipe somebody left here would never answer.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        options.custom_flags(flags.cast_signed());
    }
    match options.open(path) {
        Err(error) if !named && path.is_symlink() => Err(io::Error::other(format!(
            "it is a link, and one that was only found is not followed ({error})"
        ))),
        opened => opened,
    }
}

#[cfg(not(unix))]
fn open(path: &Path, _named: bool) -> io::Result<File> {
    File::open(path)
}

/// What is there, not following links.
fn look(path: &Path) -> Outcome<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::local(format!(
            "cannot look at `{}`: {error}",
            path.display()
        ))),
    }
}

fn refuse(what: &str, path: &Path, fault: Option<String>) -> Outcome<()> {
    match fault {
        None => Ok(()),
        Some(fault) => {
            let message = format!("the {what} `{}` {fault}", path.display());
            Err(Failure::local(message).help(REMEDY))
        }
    }
}

/// Why something cannot be relied on: it is somebody else's, or others may write it.
#[cfg(unix)]
fn fault(found: &Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;

    let us = rustix::process::geteuid().as_raw();
    fault_of(found.uid(), found.mode() & 0o7777, us)
}

#[cfg(unix)]
fn fault_of(owner: u32, mode: u32, us: u32) -> Option<String> {
    if owner != 0 && owner != us {
        return Some(format!("belongs to another user (uid {owner})"));
    }
    (mode & 0o022 != 0).then(|| format!("may be written by others (mode {mode:o})"))
}

/// Who else may look into something, in words.
#[cfg(unix)]
fn seen(found: &Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;

    let mode = found.mode() & 0o7777;
    (mode & 0o055 != 0).then(|| format!("may be looked into by others (mode {mode:o})"))
}

#[cfg(not(unix))]
fn seen(_found: &Metadata) -> Option<String> {
    None
}

#[cfg(not(unix))]
fn fault(_found: &Metadata) -> Option<String> {
    None
}

/// Whether everybody may read a plain file.
#[cfg(unix)]
fn is_open(found: &Metadata) -> bool {
    found.is_file() && std::os::unix::fs::MetadataExt::mode(found) & 0o004 != 0
}

#[cfg(not(unix))]
fn is_open(_found: &Metadata) -> bool {
    false
}

#[cfg(unix)]
fn is_sticky(found: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::mode(found) & 0o1000 != 0
}

#[cfg(not(unix))]
fn is_sticky(_found: &Metadata) -> bool {
    false
}

const REMEDY: &str =
    "make it yours alone (`chown`, `chmod go-w`) when you know who wrote it, or name another";

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[track_caller]
    fn refused(outcome: Outcome<()>, part: &str) {
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains(part), "{message} lacks {part}");
    }

    /// [ARCP 14-9]
    #[test]
    fn what_others_may_write_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir(at("data")).unwrap();
        directory(&at("none")).unwrap();
        for (bits, fine) in [
            (0o700, true),
            (0o755, true),
            (0o777, false),
            (0o770, false),
            (0o1777, false),
        ] {
            mode(&at("data"), bits);
            assert_eq!(directory(&at("data")).is_ok(), fine, "{bits:o}");
        }
        symlink(at("data"), at("link")).unwrap();
        refused(directory(&at("link")), "is a link");
        fs::write(at("file"), "").unwrap();
        refused(directory(&at("file")), "no directory");

        store(&at("none.db")).unwrap();
        fs::write(at("t.db"), "").unwrap();
        mode(&at("t.db"), 0o600);
        store(&at("t.db")).unwrap();
        mode(&at("t.db"), 0o666);
        refused(store(&at("t.db")), "mode 666");
        symlink(at("nowhere"), at("dangling.db")).unwrap();
        refused(store(&at("dangling.db")), "no plain file");
        symlink(at("file"), at("none.db-wal")).unwrap();
        refused(store(&at("none.db")), "none.db-wal");
        mode(&at("data"), 0o777);
        refused(store(&at("data/t.db")), "directory of the store");
        mode(&at("data"), 0o1777);
        store(&at("data/t.db")).unwrap();

        let read = |name: &str, named| configuration(&at(name), named);
        fs::write(at("c.toml"), "[server]").unwrap();
        mode(&at("c.toml"), 0o644);
        assert_eq!(read("c.toml", false).unwrap().as_deref(), Some("[server]"));
        assert_eq!(read("none.toml", false), Ok(None));
        assert!(read("none.toml", true).is_err());
        symlink(at("c.toml"), at("l.toml")).unwrap();
        assert!(read("l.toml", true).unwrap().is_some());
        refused(read("l.toml", false).map(drop), "link");
        mode(&at("c.toml"), 0o664);
        for named in [true, false] {
            refused(read("c.toml", named).map(drop), "mode 664");
        }
        refused(read("data", false).map(drop), "no plain file");
    }

    /// [ARCP 14-9] Whoever we are: what is ours or root's is believed, and nobody else's.
    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        const US: u32 = 1000;
        for (owner, us, fine) in [
            (US, US, true),
            (0, US, true),
            (0, 0, true),
            (US, 0, false),
            (1001, US, false),
            (65534, US, false),
        ] {
            let fault = fault_of(owner, 0o600, us);
            assert_eq!(fault.is_none(), fine, "{owner} for {us}: {fault:?}");
            let other = format!("uid {owner}");
            assert!(fine || fault.is_some_and(|fault| fault.contains(&other)));
        }
        assert!(fault_of(US, 0o620, US).is_some() && fault_of(US, 0o602, US).is_some());
        // This very file is somebody's, and its owner is looked at.
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("towline.toml");
        fs::write(&path, "").unwrap();
        mode(&path, 0o600);
        store(&path).unwrap();
        // Only root may give files away, so only root can show the rest.
        if std::os::unix::fs::chown(&path, Some(65534), None).is_ok() {
            refused(configuration(&path, true).map(drop), "uid 65534");
            refused(store(&path), "uid 65534");
        }
    }

    /// [ARCP 14-9] Others who may look into a data directory, and not write it, are told of.
    #[test]
    fn others_who_may_look_are_told_of() {
        let place = tempfile::tempdir().unwrap();
        for (bits, quiet) in [
            (0o700, true),
            (0o750, false),
            (0o755, false),
            (0o711, false),
        ] {
            mode(place.path(), bits);
            let found = fs::metadata(place.path()).unwrap();
            assert_eq!(seen(&found).is_none(), quiet, "{bits:o}");
            directory(place.path()).unwrap();
        }
    }
}
