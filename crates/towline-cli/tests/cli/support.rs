//! Running the program from tests: each test has a directory of its own, no fixed ports, no waiting for time to pass.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::mpsc::Receiver,
};

use serde_json::Value;
use tempfile::TempDir;

/// A directory to run the program in.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The program with arguments, in this directory, with nothing of the environment that could change what it does.
    pub(crate) fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_towline"));
        command
            .args(args)
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command.env("XDG_STATE_HOME", self.path().join("state"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("TOWLINE_") || text == "RUST_LOG" || text == "NO_COLOR" {
                command.env_remove(&name);
            }
        }
        command
    }

    /// The data directory, as it is when none is named.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("state/towline")
    }

    /// Writes a `towline.toml` here, and trusts it.
    pub(crate) fn trusted(&self, content: impl AsRef<[u8]>) {
        self.write("towline.toml", content);
        self.run(["trust"]).ok();
    }

    pub(crate) fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// A server that is ready.
    pub(crate) fn serve(&self, args: &[&str]) -> Server {
        let all = ["serve", "--listen", "127.0.0.1:0", "--demo"]
            .iter()
            .chain(args);
        Server::start(self.command(all))
    }
}

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 0, "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn status(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    /// Standard error holds each of these.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "no `{part}` in {self:#?}");
        }
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }

    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// A server in a process of its own; killed when the test ends.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) url: String,
    pub(crate) token: Option<String>,
    pub(crate) before: Vec<String>,
    stdout: BufReader<ChildStdout>,
}

pub(crate) const TOKEN: &str = "alice:s3cret";

impl Server {
    pub(crate) fn start(command: Command) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        Self::start_speaking(command, reader, writer).0
    }

    /// A server, and the lines of its standard error.
    pub(crate) fn start_speaking(
        mut command: Command,
        reader: std::io::PipeReader,
        writer: std::io::PipeWriter,
    ) -> (Self, Receiver<String>) {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(writer)
            .spawn()
            .unwrap();
        // It holds the other end of the pipe, which is to end with the server.
        drop(command);
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (told, said) = std::sync::mpsc::channel();
        // A pipe nobody reads fills up and stops the program.
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                // Who does not listen does not mind.
                let _ = told.send(line);
            }
        });
        // Made before anything can go wrong, so that the process ends with the test whatever happens.
        let mut server = Self {
            child,
            url: String::new(),
            token: None,
            before: Vec::new(),
            stdout,
        };
        loop {
            let mut line = String::new();
            if server.stdout.read_line(&mut line).unwrap() == 0 {
                let said: Vec<String> = said.iter().collect();
                panic!("the server ended: {:?} {said:?}", server.before);
            }
            let line = line.trim_end().to_owned();
            if let Some(url) = line.strip_prefix("listening on ") {
                url.clone_into(&mut server.url);
                return (server, said);
            }
            if let Some(token) = line.strip_prefix("token: ") {
                server.token = Some(token.to_owned());
            }
            server.before.push(line);
        }
    }

    /// `--url` and `--token` of the principal the tests use.
    pub(crate) fn flags(&self) -> [String; 4] {
        let token = self.token.clone().unwrap_or_else(|| "s3cret".to_owned());
        [
            "--url".to_owned(),
            self.url.clone(),
            "--token".to_owned(),
            token,
        ]
    }

    pub(crate) fn address(&self) -> String {
        self.url.split('/').nth(2).unwrap().to_owned()
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for its end; what it still printed, and its status.
    pub(crate) fn wait(mut self) -> (i32, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code().unwrap_or(-1), rest)
    }

    /// A plain HTTP request; the whole answer.
    pub(crate) fn http(&self, path: &str, headers: &[(&str, &str)]) -> String {
        use std::io::Write as _;
        let mut socket = std::net::TcpStream::connect(self.address()).unwrap();
        let host = headers
            .iter()
            .find(|(name, _)| *name == "Host")
            .map_or("localhost", |(_, value)| value);
        write!(
            socket,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads lines of a running program until one fits.
pub(crate) fn read_until(
    reader: &mut impl std::io::BufRead,
    mut fits: impl FnMut(&Value) -> bool,
) -> Vec<Value> {
    let mut read = Vec::new();
    loop {
        let mut line = String::new();
        assert_ne!(
            reader.read_line(&mut line).unwrap(),
            0,
            "the program ended before: {read:#?}"
        );
        let value: Value = serde_json::from_str(&line).unwrap();
        let done = fits(&value);
        read.push(value);
        if done {
            return read;
        }
    }
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}
