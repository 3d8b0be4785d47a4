//! The places of the system that every program gets.

use std::{fs, os::fd::OwnedFd, path::PathBuf};

use rustix::fs::CWD;

use super::place::open_exactly;

/// A place of the system.
pub(super) struct SystemPlace {
    pub(super) path: String,
    /// Its name without links.
    pub(super) real: PathBuf,
    pub(super) directory: bool,
    /// What it is a link to; then the place is elsewhere.
    pub(super) link: Option<PathBuf>,
    pub(super) fd: OwnedFd,
}

/// The places of the system that are there: with `trust`, also whom it trusts on the network.
pub(super) fn places(trust: bool) -> Vec<SystemPlace> {
    let trusted: &[&str] = if trust { &TRUST } else { &[] };
    let found = SYSTEM.iter().chain(trusted).filter_map(|path| {
        let link = fs::read_link(path).ok();
        let real = fs::canonicalize(path).ok()?;
        let fd = open_exactly(CWD, &real).ok()?;
        // A link inside `/usr` or to another place below leads there in the new view as well; another one is that file.
        let kept = link.filter(|_| SYSTEM.iter().any(|place| real.starts_with(place)));
        Some(SystemPlace {
            path: (*path).to_owned(),
            directory: real.is_dir(),
            real,
            link: kept,
            fd,
        })
    });
    found.collect()
}

/// What every program needs to start: programs, libraries, and what they read.
const SYSTEM: [&str; 11] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
];

/// The certificates of authorities, and how OpenSSL is set up. Not what lies beside them: private keys.
const TRUST: [&str; 5] = [
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates/extracted",
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Private keys lie beside the certificates of authorities; whatever this machine has of both, no place holds them.
    #[test]
    fn private_keys_are_in_no_place() {
        for keys in [
            "/etc/ssl/private",
            "/etc/pki/tls/private",
            "/etc/pki/CA/private",
        ] {
            let holds = |place: &&&str| Path::new(keys).starts_with(place);
            let found = TRUST.iter().chain(&SYSTEM).find(holds);
            assert_eq!(found, None, "{keys}");
        }
    }
}
