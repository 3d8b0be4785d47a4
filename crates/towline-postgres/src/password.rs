//! Passwords from a file of libpq's form.

use std::{fs, path::Path};

use tokio_postgres::{Config, config::Host};
use towline_store::StoreError;

use crate::address::bad_file;

/// The password of the first line that fits one of the hosts.
pub(crate) fn look_up(path: &Path, config: &Config) -> Result<Option<String>, StoreError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(bad_file(path, error)),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(path).map_err(|error| bad_file(path, error))?;
        if mode.permissions().mode() & 0o077 != 0 {
            return Err(bad_file(
                path,
                "others can read the passwords in it; run chmod 600 on it",
            ));
        }
    }
    Ok(find(&text, config))
}

fn find(text: &str, config: &Config) -> Option<String> {
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    let ports = config.get_ports();
    for (index, host) in config.get_hosts().iter().enumerate() {
        let port = ports.get(index).or(ports.first()).copied();
        let port = port.unwrap_or(5432).to_string();
        let host = match host {
            Host::Tcp(name) => name.clone(),
            // libpq says `localhost` for every socket.
            #[cfg(unix)]
            Host::Unix(_) => "localhost".to_owned(),
        };
        let wanted = [host.as_str(), &port, database, user];
        let found = text.lines().find_map(|line| of_line(line, wanted));
        if found.is_some() {
            return found;
        }
    }
    None
}

fn of_line(line: &str, wanted: [&str; 4]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![String::new()];
    let mut escaped = false;
    for c in line.chars() {
        match c {
            '\\' if !escaped => escaped = true,
            ':' if !escaped && fields.len() < 5 => fields.push(String::new()),
            c => {
                escaped = false;
                fields.last_mut()?.push(c);
            }
        }
    }
    let password = (fields.len() == 5).then(|| fields.pop())??;
    let fits = |(field, wanted): (&String, &str)| field == "*" || field == wanted;
    fields.iter().zip(wanted).all(fits).then_some(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let text = "# comment\nother:*:*:*:no\ndb:5432:d:u:p\\:w\\\\1\n*:*:*:*:last\n";
        let of = |url: &str| find(text, &url.parse().unwrap());
        assert_eq!(of("postgres://u@db/d").as_deref(), Some("p:w\\1"));
        assert_eq!(of("postgres://u@db:5433/d").as_deref(), Some("last"));
        assert_eq!(find("h:1:d:u", &"postgres://u@h/d".parse().unwrap()), None);
        assert_eq!(
            find("x:*:*:*:y", &"postgres://u@h/d".parse().unwrap()),
            None
        );
    }
}
