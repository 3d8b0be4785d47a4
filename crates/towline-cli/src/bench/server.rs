//! The measured server: this program, in another process.

use std::{path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use towline::{
    client::{Client, ClientOptions},
    transport::WebSocketTransport,
};

use crate::failure::{Failure, Outcome, chain};

/// A server that ends with this value.
pub(super) struct Server {
    url: String,
    child: Child,
    _data: tempfile::TempDir,
}

impl Server {
    pub(super) async fn start(store: &str) -> Outcome<Self> {
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
        let store = if store == "memory" {
            "memory".to_owned()
        } else {
            format!("sqlite:{}", place.display())
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
        let (child, url) = spawn(data.path(), Some(&config), &arguments).await?;
        Ok(Self {
            url,
            child,
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

/// Starts this program and reads the address it listens on.
pub(super) async fn spawn(
    dir: &Path,
    config: Option<&Path>,
    arguments: &[&str],
) -> Outcome<(Child, String)> {
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(dir)
        .env("RUST_LOG", "error");
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    command
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .kill_on_drop(true);
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
const TOKEN: &str = "towline-bench-token";
