//! The measured server: this program, in another process.

use std::{path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use towline::{
    client::{Client, ClientOptions},
    transport::{WebSocketTransport, tls::Trust},
};

use crate::failure::{Failure, Outcome, chain};

/// A server that ends with this value.
pub(super) struct Server {
    url: String,
    child: Child,
    /// Where the counts of the program that traces it go, if one does.
    traced: Option<tempfile::NamedTempFile>,
    _data: tempfile::TempDir,
}

impl Server {
    pub(super) async fn start(store: &str) -> Outcome<Self> {
        Self::started(store, None).await
    }

    /// A server whose fsyncs are counted; `None` where there is nothing to count them with.
    pub(super) async fn traced(store: &str) -> Outcome<Option<Self>> {
        let is_there = Command::new("strace").arg("-V").output().await;
        if !cfg!(unix) || !is_there.is_ok_and(|ran| ran.status.success()) {
            return Ok(None);
        }
        let counts = tempfile::NamedTempFile::new().map_err(failed)?;
        Self::started(store, Some(counts)).await.map(Some)
    }

    async fn started(store: &str, traced: Option<tempfile::NamedTempFile>) -> Outcome<Self> {
        let data = tempfile::tempdir().map_err(failed)?;
        let config = data.path().join("towline.toml");
        let durability = if store == "sqlite-power" {
            "power"
        } else {
            "process"
        };
        let limits = "[auth]\n[server]\n";
        let store_table = format!("[store]\ndurability = \"{durability}\"\n");
        std::fs::write(&config, format!("{limits}{store_table}")).map_err(failed)?;
        let place = data.path().join("towline.db");
        let store = if store.starts_with("sqlite") {
            format!("sqlite:{}", place.display())
        } else {
            store.to_owned()
        };
        // Sessions are capped per principal, so many of them need many principals.
        let tokens: Vec<String> = (0..PRINCIPALS)
            .map(|number| format!("bench-{number}:{TOKEN}-{number}"))
            .collect();
        let mut arguments = vec![
            "serve",
            "--demo",
            "--listen",
            "127.0.0.1:0",
            "--store",
            &store,
        ];
        for token in &tokens {
            arguments.extend(["--token", token]);
        }
        let program = match &traced {
            None => itself()?,
            Some(counts) => {
                // With `-I2` it passes on a signal that ends it, which it would not hear otherwise.
                let mut strace = Command::new("strace");
                strace
                    .args(["-I2", "-f", "-c", "-e", "trace=fsync,fdatasync", "-o"])
                    .arg(counts.path())
                    .arg(std::env::current_exe().map_err(failed)?);
                strace
            }
        };
        let (child, url) = spawn(program, data.path(), Some(&config), &arguments).await?;
        Ok(Self {
            url,
            child,
            traced,
            _data: data,
        })
    }

    /// A client with a session of its own.
    pub(super) async fn client(&self) -> Outcome<Client> {
        self.client_of(0).await
    }

    /// A client of one of the principals.
    pub(super) async fn client_of(&self, principal: u64) -> Outcome<Client> {
        let token = format!("{TOKEN}-{}", principal % PRINCIPALS);
        let transport = WebSocketTransport::connect(&self.url).await;
        let transport = transport.map_err(|error| Failure::local(chain(&error)))?;
        let client = Client::connect(transport, ClientOptions::bearer(token)).await;
        client.map_err(|error| Failure::local(chain(&error)))
    }

    /// Where it is reached over plain HTTP.
    pub(super) fn web(&self) -> String {
        let url = self.url.replacen("ws://", "http://", 1);
        url.rsplit_once('/')
            .map_or_else(|| url.clone(), |(server, _)| server.to_owned())
    }

    /// How many transactions it has committed.
    pub(super) async fn commits(&self) -> Outcome<u64> {
        let answer = web_client()?
            .get(format!("{}/metrics", self.web()))
            .send()
            .await;
        let text = match answer {
            Ok(answer) => answer.text().await,
            Err(error) => Err(error),
        };
        let text = text.map_err(|error| Failure::local(chain(&error)))?;
        let mut counts = text
            .lines()
            .filter_map(|line| line.strip_prefix("towline_commit_seconds_count "));
        Ok(counts
            .next()
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(0))
    }

    /// Ends a server that is traced; how often it has synced.
    pub(super) async fn syncs(mut self) -> Outcome<u64> {
        let Some(counts) = self.traced.take() else {
            return Ok(0);
        };
        self.interrupt();
        self.child.wait().await.map_err(failed)?;
        let text = std::fs::read_to_string(counts.path()).map_err(failed)?;
        let calls = text.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_sync = matches!(words.last(), Some(&("fsync" | "fdatasync")));
            is_sync.then(|| words.get(3)?.parse::<u64>().ok()).flatten()
        });
        Ok(calls.sum())
    }

    /// Asks the process to end. One that traces passes it on to the server, which a kill would leave behind.
    fn interrupt(&self) {
        #[cfg(unix)]
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    /// The server's resident memory, in bytes; 0 where that cannot be read.
    pub(super) fn memory(&self) -> u64 {
        let pages = self
            .child
            .id()
            .and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/statm")).ok());
        let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
        pages.unwrap_or(0) * 4096
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.traced.is_some() {
            self.interrupt();
        }
    }
}

/// What asks a server over plain HTTP: no proxy is on the way.
pub(super) fn web_client() -> Outcome<reqwest::Client> {
    let tls = Trust::system().config();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_backend_preconfigured(tls.map_err(|error| Failure::local(chain(&error)))?)
        .build();
    client.map_err(|error| Failure::local(chain(&error)))
}

/// This program, which ends with its handle.
pub(super) fn itself() -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.kill_on_drop(true);
    Ok(command)
}

/// Starts this program, or one that runs it, and reads the address it listens on.
pub(super) async fn spawn(
    mut command: Command,
    dir: &Path,
    config: Option<&Path>,
    arguments: &[&str],
) -> Outcome<(Child, String)> {
    command
        .args(arguments)
        .current_dir(dir)
        .env("RUST_LOG", "error");
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    command.stdout(Stdio::piped()).stdin(Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| Failure::local("the server has no output".to_owned()))?;
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await.map_err(failed)? {
        if let Some(url) = line.strip_prefix("listening on ") {
            return Ok((child, url.to_owned()));
        }
    }
    Err(Failure::local(
        "the server ended before it listened".to_owned(),
    ))
}

pub(super) fn failed(error: std::io::Error) -> Failure {
    Failure::local(error.to_string())
}

const PRINCIPALS: u64 = 256;
pub(super) const TOKEN: &str = "towline-bench-token";
