//! Unix sockets that only their owner may use.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// The file of a socket that is listened on; dropping it removes the file.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

/// Listens at a path, for the owner alone. A socket that nobody listens on any more is replaced.
///
/// The socket is made in a directory that nobody else may enter, and moved to its place once its mode is right: there is no
/// moment at which somebody else could connect.
///
/// # Errors
/// When something else than a socket is there, when somebody listens on it, and what the operating system says.
pub(crate) fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            let message = "something else than a socket is there";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            let message = "another process listens on it";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        _ => {}
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    let private = tempfile::Builder::new()
        .prefix(".t")
        .rand_bytes(4)
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(above.unwrap_or(Path::new(".")))?;
    let made = private.path().join("s");
    let listener = UnixListener::bind(&made)?;
    fs::set_permissions(&made, fs::Permissions::from_mode(0o600))?;
    let inode = fs::symlink_metadata(&made)?.ino();
    fs::rename(&made, path)?;
    listener.set_nonblocking(true)?;
    let file = SocketFile {
        path: path.to_owned(),
        inode,
    };
    Ok((listener, file))
}

impl SocketFile {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody else may have put theirs in its place.
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|there| there.ino() == self.inode);
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_its_owners_and_goes_with_its_listener() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("t.sock");
        let (listener, file) = listen(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            listen(&path).unwrap_err().kind(),
            io::ErrorKind::AddrInUse,
            "somebody listens"
        );
        // Killed: nobody listens, and the file is still there.
        drop(listener);
        std::mem::forget(file);
        let (_listener, file) = listen(&path).unwrap();
        assert_eq!(file.path(), path);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        drop(file);
        assert!(!path.exists());
        fs::write(&path, "mine").unwrap();
        assert!(listen(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
