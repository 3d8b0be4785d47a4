//! A server in a directory that goes with the test's process.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A PostgreSQL server that runs for as long as this process does, whatever ends it, and listens on a Unix socket alone.
#[derive(Debug)]
pub struct Server {
    directory: PathBuf,
    schemas: AtomicU64,
    /// Holds the pipe whose end is the server's end.
    _keeper: Child,
}

impl Server {
    /// The server of this process, begun by whoever asks first. `None` where PostgreSQL is not installed: then the test says
    /// so and does nothing; but with `CI=true` it fails.
    pub fn get() -> Option<&'static Self> {
        static SERVER: OnceLock<Option<Server>> = OnceLock::new();
        let server = SERVER.get_or_init(|| {
            let programs = programs();
            if programs.is_none() && env::var("CI").is_ok_and(|value| value == "true") {
                panic!("{MISSING}");
            }
            programs.map(|programs| Self::start(&programs, &["-c", "fsync=off"]))
        });
        if server.is_none() {
            eprintln!("skipped: {MISSING}");
        }
        server.as_ref()
    }

    /// Another one, with more settings, for tests that kill it or want it to be slow and sure.
    pub fn another(settings: &[&str]) -> Option<Self> {
        Self::get()?;
        programs().map(|programs| Self::start(&programs, settings))
    }

    fn start(programs: &Path, settings: &[&str]) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("towline-pg.")
            .tempdir_in("/tmp")
            .unwrap()
            .keep();
        let keeper = Command::new("sh")
            .arg("-c")
            .arg(KEEPER)
            .arg("keeper")
            .args([programs, &directory])
            .args(settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.join("log")).unwrap())
            .spawn()
            .unwrap();
        let server = Self {
            directory,
            schemas: AtomicU64::new(0),
            _keeper: keeper,
        };
        server.wait();
        server
    }

    /// Waits until it takes connections.
    pub fn wait(&self) {
        let began = Instant::now();
        let ready = || {
            let mut ask = Command::new(programs().unwrap_or_default().join("pg_isready"));
            ask.arg("-q").arg("-h").arg(&self.directory);
            ask.status().is_ok_and(|status| status.success())
        };
        while !ready() {
            let log = || fs::read_to_string(self.directory.join("log"));
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "the server does not start: {:?}",
                log()
            );
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// The socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join(".s.PGSQL.5432")
    }

    /// The name of a schema that nobody else has.
    pub fn schema(&self) -> String {
        format!("t{}", self.schemas.fetch_add(1, Ordering::Relaxed))
    }

    /// The address of a schema, by the socket.
    pub fn url(&self, schema: &str) -> String {
        let host = self.directory.display().to_string().replace('/', "%2F");
        format!("postgres://towline@{host}/postgres?schema={schema}")
    }

    /// Runs SQL as an administrator.
    pub async fn run(&self, sql: &str) -> Vec<tokio_postgres::SimpleQueryMessage> {
        let host = self.directory.display().to_string().replace('/', "%2F");
        let url = format!("postgres://towline@{host}/postgres");
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
            .await
            .unwrap();
        let driven = tokio::spawn(connection);
        let rows = client.simple_query(sql).await.unwrap();
        drop(client);
        drop(driven.await);
        rows
    }

    /// Ends the server as a crash does: at once, without a word to anybody. It starts again by itself.
    pub fn crash(&self) {
        let file = fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap();
        let pid = file.lines().next().unwrap().to_owned();
        let killed = Command::new("kill").args(["-QUIT", &pid]).status().unwrap();
        assert!(killed.success());
    }
}

fn programs() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let look = || {
        let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let mut found: Vec<_> = debian
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .collect();
        found.sort();
        let path = env::var_os("PATH").unwrap_or_default();
        found.extend(env::split_paths(&path));
        let all = ["initdb", "postgres", "pg_isready"];
        let has_all = |bin: &PathBuf| all.iter().all(|program| bin.join(program).exists());
        found.into_iter().rev().find(has_all)
    };
    FOUND.get_or_init(look).clone()
}

const MISSING: &str = "PostgreSQL is not installed (no initdb in /usr/lib/postgresql/*/bin or on the PATH); this test needs it";

/// Starts the server as a user who is not root, again when it ends, and ends it when the pipe does.
const KEEPER: &str = r#"
bin=$1; dir=$2; shift 2
exec 3<&0 </dev/null
trap '' TERM INT HUP
as=
if [ "$(id -u)" -eq 0 ]; then
  as="setpriv --reuid=postgres --regid=postgres --init-groups"
  chown postgres "$dir"
fi
cd "$dir"
$as "$bin/initdb" -D data -U towline -A trust -E UTF8 --locale=C -N >/dev/null
( cat <&3 >/dev/null; : >over; kill -QUIT $(head -1 data/postmaster.pid) ) &
while [ ! -e over ]; do
  $as "$bin/postgres" -D data -c listen_addresses= -c unix_socket_directories="$dir" -c max_connections=400 "$@" 3<&-
done
cd / && rm -rf "$dir"
"#;
