//! Who may do what, through the program: two principals without a role, two with one, and one that may see and end all.

use serde_json::Value;

use crate::support::{Place, Ran, Server, TOKEN};

const PRINCIPALS: [&str; 4] = ["ann", "dan", "dora", "olga"];

const FILE: &str = r#"
[server]
listen = "127.0.0.1:0"
demo = true
[store]
memory = true
[[auth.tokens]]
principal = "ann"
token = "ann-token"
[[auth.tokens]]
principal = "dan"
token = "dan-token"
role = "dev"
[[auth.tokens]]
principal = "dora"
token = "dora-token"
role = "dev"
[[auth.tokens]]
principal = "olga"
token = "olga-token"
role = "ops"
[roles.dev]
agents = ["access", "sleep", "delegate"]
lease_ceiling = { "fs.read" = ["/srv/**"], "agent.delegate" = ["*"] }
budget_per_job = "USD:2.00"
jobs = 2
may_watch = "role:dev"
[roles.ops]
may_watch = "all"
may_cancel = "all"
admin = true
"#;

/// Each principal works in a place of its own, so that none takes up another's session.
struct Office {
    server: Server,
    rooms: Vec<(&'static str, Place)>,
    _home: Place,
}

impl Office {
    fn open(more: &[&str]) -> Self {
        let home = Place::new();
        home.write("towline.toml", FILE);
        let arguments = ["serve"].iter().chain(more);
        Self {
            server: Server::start(home.command(arguments)),
            rooms: PRINCIPALS.map(|name| (name, Place::new())).into(),
            _home: home,
        }
    }

    fn of(&self, principal: &str) -> Option<&Place> {
        let mut rooms = self.rooms.iter();
        let room = rooms.find(|(name, _)| *name == principal);
        room.map(|(_, place)| place)
    }

    fn run(&self, principal: &str, arguments: &[&str]) -> Ran {
        let elsewhere = Place::new();
        let place = self.of(principal).unwrap_or(&elsewhere);
        self.run_at(place, principal, arguments)
    }

    fn run_at(&self, place: &Place, principal: &str, arguments: &[&str]) -> Ran {
        let token = format!("{principal}-token");
        let flags = ["--url", &self.server.url, "--token", &token];
        place.run(arguments.iter().chain(&flags))
    }

    /// A job that goes on; its name.
    fn sleeps(&self, principal: &str) -> String {
        let sleep = ["run", "sleep", "--input", r#"{"ms":3600000}"#, "--detach"];
        let ran = self
            .run(principal, &[&sleep[..], &["-o", "json"]].concat())
            .ok();
        ran.json()["job_id"].as_str().unwrap().to_owned()
    }
}

/// [ARCP 14-10, 20-1] What each may ask for, by namespace and agent, and how it is told.
#[test]
fn leases_and_agents_are_bounded_by_the_role() {
    let office = Office::open(&[]);
    let access = ["run", "access", "--input", r#"{"ops":[]}"#];
    let over = "all but fs.*, net.fetch and exec:";
    let dev = "role `dev` (agent.delegate: *; fs.read: /srv/**)";
    for (principal, lease, status, says) in [
        ("ann", "fs.read=/tmp/**", 4, over),
        ("ann", "fs.write=/tmp/x", 4, over),
        ("ann", "net.fetch=https://example.com/**", 4, over),
        ("ann", "tool.call=exec:ls", 4, over),
        ("ann", "tool.call=*", 4, over),
        ("ann", "tool.call=search.*", 0, ""),
        ("ann", "model.use=*", 0, ""),
        ("dan", "fs.read=/srv/a/*", 0, ""),
        ("dan", "fs.read=/**", 4, dev),
        ("dan", "tool.call=search.*", 4, dev),
        ("olga", "fs.read=/**", 0, ""),
        ("olga", "tool.call=exec:*", 0, ""),
    ] {
        let ran = office.run(principal, &[&access[..], &["--lease", lease]].concat());
        ran.status(status).says(&[says]);
    }
    office
        .run("dan", &["run", "echo"])
        .status(3)
        .says(&["role `dev`", "echo", "`access`"]);
    office
        .run(
            "dan",
            &[
                "run",
                "sleep",
                "--input",
                r#"{"ms":1}"#,
                "--budget",
                "USD:2.01",
            ],
        )
        .status(4)
        .says(&["role `dev`", "USD:2.00"]);
    let child = r#"{"agent":"echo","input":1}"#;
    let delegates = [
        "run",
        "delegate",
        "--input",
        child,
        "--lease",
        "agent.delegate=*",
    ];
    office
        .run("dan", &delegates)
        .status(1)
        .says(&["role `dev`"]);
    let any = Office::open(&["--dangerously-grant-any-lease"]);
    any.run("ann", &[&access[..], &["--lease", "fs.read=/**"]].concat())
        .ok();
    any.run("dan", &[&access[..], &["--lease", "fs.read=/**"]].concat())
        .status(4);
}

/// [ARCP 20-1] The budget of a role is the default of its jobs, and shows in the listing.
#[test]
fn a_job_gets_the_budget_of_its_role() {
    let office = Office::open(&[]);
    let job = office.sleeps("dan");
    let shown = office.run("dan", &["get", &job, "-o", "json"]).ok().json();
    let budget = &shown["lease"]["cost.budget"];
    assert_eq!(*budget, serde_json::json!(["USD:2.00"]), "{shown}");
}

/// [ARCP 7.4-2, 20-1] Who may end and see whose jobs: every session of the submitter, and whom a role lets.
#[test]
fn jobs_are_cancelled_and_watched_by_those_who_may() {
    let office = Office::open(&[]);
    for (asker, owner, sees, cancels) in [
        ("ann", "ann", true, true),
        ("dan", "dan", true, true),
        ("dan", "dora", true, false),
        ("dan", "ann", false, false),
        ("ann", "dan", false, false),
        ("olga", "ann", true, true),
        ("olga", "dora", true, true),
    ] {
        let job = office.sleeps(owner);
        let elsewhere = Place::new();
        let listed = office
            .run_at(&elsewhere, asker, &["jobs", "-o", "json"])
            .ok();
        let listed = listed.json().to_string().contains(&job);
        assert_eq!(listed, sees, "{asker} lists the job of {owner}");
        let got = office.run_at(&elsewhere, asker, &["get", &job]).status;
        assert_eq!(got == 0, sees, "{asker} gets the job of {owner}");
        let cancelled = office.run_at(&elsewhere, asker, &["cancel", &job]);
        assert_eq!(
            cancelled.status == 0,
            cancels,
            "{asker} cancels the job of {owner}: {cancelled:?}"
        );
        if !cancels {
            office.run("olga", &["cancel", &job]).ok();
        }
    }
}

/// [ARCP 20-1] Over a role's number of jobs they wait.
#[test]
fn jobs_over_the_number_of_a_role_wait() {
    let office = Office::open(&[]);
    let jobs: Vec<String> = (0..3).map(|_| office.sleeps("dan")).collect();
    let status = |job: &str| {
        let got = office.run("dan", &["get", job, "-o", "json"]).ok().json();
        got["status"].as_str().map(str::to_owned)
    };
    assert_eq!(status(&jobs[2]).as_deref(), Some("pending"));
    office.run("dan", &["cancel", &jobs[2]]).ok();
}

/// [ARCP 14-10, 20-2] What holds is said at the start, on standard error, and decisions are told with the role's name.
#[test]
fn what_holds_is_printed_and_audited() {
    let home = Place::new();
    home.write("towline.toml", FILE);
    let log = std::fs::File::create(home.path().join("log")).unwrap();
    let mut command = home.command(["serve", "--log-format", "json"]);
    command
        .env("RUST_LOG", "warn,towline::audit=info")
        .stdout(std::process::Stdio::piped())
        .stderr(log);
    let mut child = command.spawn().unwrap();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let url = loop {
        let mut line = String::new();
        assert_ne!(
            std::io::BufRead::read_line(&mut stdout, &mut line).unwrap(),
            0
        );
        if let Some(url) = line.trim_end().strip_prefix("listening on ") {
            break url.to_owned();
        }
    };
    let place = Place::new();
    let flags = ["--url", &url, "--token", "dan-token"];
    place.run(["run", "echo"].iter().chain(&flags)).status(3);
    child.kill().unwrap();
    child.wait().unwrap();
    let said = std::fs::read_to_string(home.path().join("log")).unwrap();
    for line in [
        "who may do what:",
        "a token without a role: agents any; lease all but fs.*, net.fetch and exec:;",
        "role `dev` (dan, dora): agents access sleep delegate; lease agent.delegate: *; fs.read: /srv/**; budget USD:2.00 a job; 2 jobs at once; watches role:dev;",
        "role `ops` (olga): agents any; lease anything; watches all; cancels all; answers all; admin",
    ] {
        assert!(said.contains(line), "no `{line}` in {said}");
    }
    let entry = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|line| line.to_string())
        .find(|line| line.contains("\"submit\""));
    let entry = entry.unwrap_or_else(|| panic!("no submit in {said}"));
    assert!(
        entry.contains(r#""role":"dev""#) && entry.contains("PERMISSION_DENIED"),
        "{entry}"
    );
}

/// [ARCP 20-2] `whoami` says who one is to a server, and what holds.
#[test]
fn whoami_says_what_holds() {
    let office = Office::open(&[]);
    let dan = office.run("dan", &["whoami", "-o", "json"]).ok().json();
    assert_eq!(dan["principal"], "dan");
    assert_eq!(dan["role"], "dev");
    assert_eq!(
        dan["agents"],
        serde_json::json!(["access", "sleep", "delegate"])
    );
    assert_eq!(dan["budget_per_job"], serde_json::json!(["USD:2.00"]));
    assert_eq!(dan["may_watch"], "role:dev");
    let ann = office.run("ann", &["whoami"]).ok().stdout;
    assert!(
        ann.contains("ann") && ann.contains("all but fs.*, net.fetch and exec:"),
        "{ann}"
    );
    office.run("eve", &["whoami"]).status(16);
    let own = Place::new().run(["whoami", "-o", "json"]).ok().json();
    assert_eq!(own["principal"], "local");
}

/// [ARCP 20-2] `lease explain --as` says what holds for a principal, and what it is granted, without a server.
#[test]
fn what_a_principal_is_granted_is_explained() {
    let place = Place::new();
    place.write("towline.toml", FILE);
    let explain = |principal: &str, more: &[&str]| {
        let of = ["lease", "explain", "--as", principal];
        place.run(of.iter().chain(more))
    };
    let dan = explain("dan", &[]).ok().stdout;
    assert!(
        dan.contains("role `dev` (dan)") && dan.contains("USD:2.00 a job"),
        "{dan}"
    );
    let reads = ["--lease", "fs.read=/srv/a/**", "--op"];
    let granted = explain("dan", &[&reads[..], &["fs.read=/srv/a/x"]].concat());
    assert!(granted.ok().stdout.contains("allowed"));
    explain("dan", &[&reads[..], &["fs.read=/etc/passwd"]].concat()).status(1);
    let ann = explain("ann", &["--lease", "fs.read=/srv/**"])
        .status(1)
        .stdout;
    assert!(
        ann.contains("a token without a role (ann)") && ann.contains("LEASE_SUBSET_VIOLATION"),
        "{ann}"
    );
    place.run(["lease", "explain"]).status(2);
}

/// [ARCP 14-8] A token may stand in a file instead of the command line; a flag that names none says how it is written.
#[test]
fn a_token_may_stand_in_a_file() {
    let place = Place::new();
    place.write("alice.token", "in-a-file\n");
    let server = place.serve(&["--token-file", "alice:alice.token", "--store", "memory"]);
    place
        .run(["run", "echo", "--url", &server.url, "--token", "in-a-file"])
        .ok();
    place
        .run(["serve", "--token-file", "alice"])
        .status(2)
        .says(&["`alice`", "PRINCIPAL:PATH"]);
    // What stands on the command line is seen by others; standard input is empty, so the server ends.
    let args = ["serve", "--stdio", "--store", "memory"];
    let told = "shows in the list of processes";
    place
        .run([&args[..], &["--token", "alice:seen"]].concat())
        .ok()
        .says(&[told]);
    let unseen = place.run([&args[..], &["--token-file", "alice:alice.token"]].concat());
    assert!(!unseen.ok().stderr.contains(told));
    place
        .run(["serve", "--token-file", "alice:missing"])
        .status(2)
        .says(&["`missing`"]);
}

/// [ARCP 14-10] Where programs of jobs would be root's, the server and `doctor` say so; no server without such agents does.
#[cfg(target_os = "linux")]
#[test]
fn programs_of_root_are_warned_of() {
    use std::os::unix::fs::MetadataExt as _;

    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let place = Place::new();
    let said = |place: &Place, args: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        let all = ["serve", "--listen", "127.0.0.1:0", "--token", TOKEN];
        let command = place.command(all.iter().chain(args));
        let (server, said) = Server::start_speaking(command, reader, writer);
        drop(server);
        said.iter().collect::<Vec<String>>().join("\n")
    };
    let warns = |said: &str, agents: &str| {
        said.contains("this is root") && said.contains(&format!("jobs of {agents}:"))
    };
    let demo = said(&place, &["--demo"]);
    assert_eq!(warns(&demo, "exec"), is_root, "{demo}");
    place.trusted("[agents.mine]\ncommand = [\"true\"]\nprotocol = \"exec\"\n[agents.other]\nbuiltin = \"index\"\n");
    let own = said(&place, &[]);
    assert_eq!(warns(&own, "mine"), is_root, "{own}");
    place.trusted("[agents.other]\nbuiltin = \"index\"\n");
    let none = said(&place, &[]);
    assert!(!none.contains("this is root"), "{none}");
    let found = place.run(["doctor", "-o", "json"]).ok().json();
    assert_eq!(
        found["warnings"].as_array().unwrap().len(),
        usize::from(is_root)
    );
}

/// A JWT of `alice`, which is good until the end of the century, by the key below.
const JWT: &str = "eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCJ9.eyJzdWIiOiAiYWxpY2UiLCAiZXhwIjogNDEwMjQ0NDgwMCwgInJvbGUiOiAid2lkZSJ9.h0P2ROU0XVSvshq-JzC2YbrYkw3UtG4iAatklFFtT7k";

/// The principals of JWTs are kept apart from those of tokens by a prefix; without one the server says that they are not.
#[test]
fn a_jwt_need_not_be_the_one_of_a_token() {
    let place = Place::new();
    place.write("key", "0123456789abcdef0123456789abcdef\n");
    let file = |prefix: &str| {
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\ndemo = true\n[store]\nmemory = true\n[[auth.tokens]]\nprincipal = \"alice\"\n\
             token = \"s3cret\"\nrole = \"wide\"\n[auth.jwt]\nsecret_file = \"key\"\n{prefix}[roles.wide]\nadmin = true\n"
        )
    };
    let asked = |prefix: &str| {
        let path = place.write("jwt.toml", file(prefix));
        let (reader, writer) = std::io::pipe().unwrap();
        let command = place.command(["serve", "--config", path.to_str().unwrap()]);
        let (server, said) = Server::start_speaking(command, reader, writer);
        let who = ["whoami", "-o", "json", "--url", &server.url, "--token", JWT];
        let who = place.run(who).ok().json();
        drop(server);
        let said: Vec<String> = said.iter().collect();
        (who, said.join("\n"))
    };
    let (who, said) = asked("");
    assert_eq!(
        (&who["principal"], &who["role"]),
        (&"alice".into(), &"wide".into())
    );
    assert!(said.contains("principal_prefix"), "{said}");
    let (who, said) = asked("principal_prefix = \"jwt:\"\n");
    assert_eq!(
        (&who["principal"], &who["role"]),
        (&"jwt:alice".into(), &Value::Null)
    );
    assert!(!said.contains("principal_prefix"), "{said}");
}
