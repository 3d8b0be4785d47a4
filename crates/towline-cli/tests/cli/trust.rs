//! What a directory may make the program do, and what the program keeps to itself.
#![cfg(unix)]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::json;

use crate::support::{Place, Ran, Server};

/// An agent that leaves a file behind, which shows that it ran.
fn mark(place: &Place) -> String {
    format!(
        "[agents.mark]\ncommand = [\"touch\", \"{}\"]\nprotocol = \"exec\"\nconfine = \"off\"\n",
        place.path().join("marked").display()
    )
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn names(ran: Ran) -> Vec<String> {
    let list = ran.ok().json();
    let list = list.as_array().unwrap().iter();
    list.map(|agent| agent["name"].as_str().unwrap().to_owned())
        .collect()
}

/// [ARCP 14-9] Agents of a file that was only found run after `towline trust`, and no longer when it changes.
#[test]
fn agents_of_a_found_file_need_trust() {
    let place = Place::new();
    let text = format!("[server]\nallow_unconfined_root = true\n{}", mark(&place));
    place.write("towline.toml", &text);
    let marked = || place.path().join("marked").exists();
    place.run(["run", "mark"]).status(2).says(&[
        "towline.toml",
        "not trusted",
        "mark",
        "towline trust",
    ]);
    place
        .run(["serve", "--listen", "127.0.0.1:0"])
        .status(2)
        .says(&["towline trust"]);
    let listed = place.run(["agents", "-o", "json"]).says(&["not trusted"]);
    assert!(!names(listed).contains(&"mark".to_owned()));
    place.run(["run", "echo"]).ok();
    assert!(!marked());

    let said = place.run(["trust"]).ok().stdout;
    assert!(said.contains("agent mark: touch"), "{said}");
    assert!(names(place.run(["agents", "-o", "json"])).contains(&"mark".to_owned()));
    place.run(["run", "mark"]).ok();
    assert!(marked());

    place.write("towline.toml", format!("{text}env = {{ A = \"b\" }}\n"));
    place.run(["run", "mark"]).status(2);
    place.run(["run", "mark", "--config", "towline.toml"]).ok();
    place.write("towline.toml", &text);
    place.run(["run", "mark"]).ok();
    place.run(["trust", "--remove"]).ok();
    place.run(["run", "mark"]).status(2);
    place
        .run(["trust", "--config", "towline.toml"])
        .status(2)
        .says(&["--config"]);
    Place::new().run(["trust"]).status(2);
}

/// [ARCP 14-9] A job that a store holds and that never began is begun by nobody who looks.
#[test]
fn looking_runs_nothing() {
    let place = Place::new();
    place.trusted(format!(
        "[server]\nallow_unconfined_root = true\nlimits = {{ jobs = 1 }}\n{}",
        mark(&place)
    ));
    let mut server = place.serve(&["--token", crate::support::TOKEN]);
    let flags = server.flags();
    for (agent, input) in [("sleep", "{\"ms\":600000}"), ("mark", "null")] {
        let args = ["run", agent, "--input", input, "--detach"].map(str::to_owned);
        place.run(args.iter().chain(&flags)).ok();
    }
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let live = || place.run(["store", "stats", "-o", "json"]).ok().json()["live_jobs"].clone();
    assert_eq!(live(), 2);
    for command in ["jobs", "agents"] {
        place.run([command]).ok();
        assert!(!place.path().join("marked").exists(), "{command}");
    }
    assert_eq!(
        live(),
        1,
        "what ran has ended, what never began waits for whoever runs jobs"
    );
}

/// [ARCP 14-9] Cancelling one of the jobs that a store holds begins none of them: what ran and cannot be run again ends, as when
/// somebody looks, and what never began waits on.
#[test]
fn cancelling_runs_nothing() {
    let (place, client) = (Place::new(), Place::new());
    place.trusted(format!(
        "[server]\nallow_unconfined_root = true\nlimits = {{ jobs = 1 }}\n{}",
        mark(&place)
    ));
    // The principal of whoever uses the directory without a server.
    let mut server = place.serve(&["--token", "local:s3cret"]);
    let flags = server.flags();
    let mut jobs = Vec::new();
    for (agent, input) in [
        ("sleep", "{\"ms\":600000}"),
        ("mark", "null"),
        ("mark", "1"),
    ] {
        let args = ["run", agent, "--input", input, "--detach"].map(str::to_owned);
        let ran = client.run(args.iter().chain(&flags)).ok();
        jobs.push(ran.stdout.trim().to_owned());
    }
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let live = || place.run(["store", "stats", "-o", "json"]).ok().json()["live_jobs"].clone();
    assert_eq!(live(), 3);
    place.run(["cancel", &jobs[1]]).ok();
    assert!(!place.path().join("marked").exists());
    assert_eq!(live(), 1, "the job that never began waits on");
    let status = |job: &str| place.run(["get", job, "-o", "json"]).ok().json()["status"].clone();
    assert_eq!(status(&jobs[1]), "cancelled");
    assert_eq!(status(&jobs[2]), "pending");
}

/// [ARCP 14-9] A file that was only found takes none of the user's jobs away.
#[test]
fn a_found_file_does_not_shorten_what_is_kept() {
    let place = Place::new();
    let text = "[store.retention]\njobs = 0\naudit_rows = 0\n";
    place.write("towline.toml", text);
    place.run(["run", "echo"]).ok();
    place.run(["trust"]).ok();
    place.run(["run", "echo"]).ok();
    assert_eq!(
        place
            .run(["jobs", "-o", "json"])
            .ok()
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

/// [ARCP 18-1] What says which files are trusted, and what the command line names, is no job's either.
#[test]
fn what_the_command_line_names_is_no_jobs() {
    let place = Place::new();
    place.write("tokens/alice", "s3cret\n");
    place.write("plain", "open");
    let root = place.path();
    fs::hard_link(root.join("plain"), root.join("plain-too")).unwrap();
    fs::hard_link(root.join("tokens/alice"), root.join("link")).unwrap();
    let store = format!("sqlite:{}", root.join("t.db").display());
    let server = place.serve(&[
        "--token-file",
        "alice:tokens/alice",
        "--store",
        &store,
        "--data-dir",
        "data",
        "--dangerously-grant-any-lease",
    ]);
    assert!(
        root.join("t.db-journal").exists(),
        "nobody else can make it"
    );
    let run = |agent: &str, input: &serde_json::Value| {
        let (tree, input) = (format!("{}/**", root.display()), input.to_string());
        let mut args = ["run", agent, "--input", &input]
            .map(str::to_owned)
            .to_vec();
        for grant in [
            format!("fs.read={tree}"),
            format!("fs.write={tree}"),
            "tool.call=exec:*".to_owned(),
        ] {
            args.extend(["--lease".to_owned(), grant]);
        }
        Place::new().run(args.iter().chain(&server.flags()))
    };
    let index = run("index", &json!({ "root": root })).ok().stdout;
    assert!(index.contains("plain-too"), "{index}");
    for hidden in [
        "tokens/alice",
        "link",
        "t.db",
        "towline.toml",
        "state/towline/",
        "data/",
    ] {
        assert!(
            !index.contains(&format!("{}/{hidden}", root.display())),
            "{hidden} in {index}"
        );
    }
    let cat = json!({"argv": ["cat", root.join("link"), root.join("tokens/alice")]});
    run("exec", &cat)
        .status(1)
        .says(&["tokens/alice", "hard links"]);
    fs::remove_file(root.join("link")).unwrap();
    let script = "cat plain tokens/alice; cp plain state/towline/trusted/x; echo x > t.db-journal; ls state/towline data";
    let ran = run("exec", &json!({"argv": ["sh", "-c", script], "cwd": root}));
    assert!(
        ran.stdout.contains("open") || ran.stderr.contains("open"),
        "{ran:#?}"
    );
    assert!(!format!("{ran:?}").contains("s3cret"), "{ran:#?}");
    assert!(!root.join("state/towline/trusted").exists());
    assert_eq!(fs::metadata(root.join("t.db-journal")).unwrap().len(), 0);
}

/// [ARCP 14-9] What others may write is not believed.
#[test]
fn files_others_may_write_are_refused() {
    let place = Place::new();
    let file = place.write("towline.toml", "[store]\ndurability = \"process\"\n");
    place.run(["run", "echo"]).ok();
    mode(&file, 0o666);
    place
        .run(["jobs"])
        .status(2)
        .says(&["towline.toml", "mode 666", "chmod"]);
    mode(&file, 0o600);
    let store = place.data().join("towline.db");
    mode(&store, 0o666);
    for command in [&["jobs"][..], &["store", "stats"], &["credentials"]] {
        place
            .run(command)
            .status(21)
            .says(&["towline.db", "mode 666"]);
    }
    mode(&store, 0o600);
    mode(&place.data(), 0o777);
    place
        .run(["jobs"])
        .status(21)
        .says(&["data directory", "mode 777"]);
    mode(&place.data(), 0o700);
    place.run(["jobs"]).ok();
    std::os::unix::fs::symlink(place.data(), place.path().join("link")).unwrap();
    place
        .run(["jobs", "--data-dir", "link"])
        .status(21)
        .says(&["is a link"]);
}

/// Jobs are the user's, not the directory's: nothing is left where the program is used.
#[test]
fn data_is_kept_in_the_state_directory() {
    let place = Place::new();
    place.run(["run", "echo"]).ok();
    assert!(place.data().join("towline.db").exists());
    assert_eq!(
        fs::read_to_string(place.data().join(".gitignore")).unwrap(),
        "*\n"
    );
    let left: Vec<_> = fs::read_dir(place.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the test's state directory: {left:?}");
    let mut command = place.command(["run", "echo"]);
    let home = place.path().join("home");
    command
        .env("XDG_STATE_HOME", "not/absolute")
        .env("HOME", &home);
    Ran::of(command.output().unwrap()).ok();
    assert!(home.join(".local/state/towline/towline.db").exists());
}

/// [ARCP 14-9] No lease covers the program's own files.
#[test]
fn jobs_do_not_reach_the_programs_own_files() {
    let place = Place::new();
    place.write("tokens/alice", "s3cret\n");
    place.write("plain", "x");
    place.write(
        "towline.toml",
        "[[auth.tokens]]\nprincipal = \"alice\"\ntoken_file = \"tokens/alice\"\n",
    );
    let root = place.path();
    std::os::unix::fs::symlink(place.data(), root.join("way")).unwrap();
    let at = |path: &str| root.join(path).display().to_string();
    let own = [
        "state/towline/towline.db",
        "state/towline",
        "towline.toml",
        "tokens/alice",
    ];
    let mut ops: Vec<_> = own
        .iter()
        .map(|path| json!(["fs.read", at(path)]))
        .collect();
    ops.push(json!(["fs.write", at("towline.toml")]));
    ops.push(json!(["fs.read", at("plain")]));
    let lease = [
        format!("fs.read={}/**", root.display()),
        format!("fs.write={}/**", root.display()),
    ];
    let input = json!({ "ops": ops }).to_string();
    let args = [
        "run", "access", "--input", &input, "--lease", &lease[0], "--lease", &lease[1],
    ];
    let asked = place.run(args).ok().json();
    let allowed: Vec<bool> = asked
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["allowed"] == true)
        .collect();
    assert_eq!(
        allowed,
        [false, false, false, false, false, true],
        "{asked}"
    );
    let input = json!({ "root": root }).to_string();
    let index = place
        .run([
            "run", "index", "--input", &input, "--lease", &lease[0], "--quiet",
        ])
        .ok();
    assert!(index.stdout.contains("plain"), "{index:#?}");
    for hidden in ["towline.db", "alice", "towline.toml"] {
        assert!(!index.stdout.contains(hidden), "{hidden} in {index:#?}");
    }
}

/// An empty variable is as good as none, and a switch is on with 1.
#[test]
fn empty_variables_count_as_unset() {
    let place = Place::new();
    let mut command = place.command(["serve"]);
    for name in [
        "LISTEN",
        "PATH",
        "TOKENS",
        "STORE",
        "TLS_CERT",
        "HEARTBEAT",
        "DRAIN",
        "CONFIG",
        "DATA_DIR",
        "LOG_FORMAT",
    ] {
        command.env(format!("TOWLINE_{name}"), "");
    }
    command
        .env("TOWLINE_LISTEN", "127.0.0.1:0")
        .env("TOWLINE_DEMO", "1");
    let server = Server::start(command);
    assert!(server.url.ends_with("/arcp"), "{}", server.url);
    place
        .run(
            ["run", "echo"]
                .iter()
                .map(ToString::to_string)
                .chain(server.flags()),
        )
        .ok();
    let mut command = place.command(["jobs", "--data-dir", "other"]);
    for name in ["URL", "TIMEOUT", "OUTPUT", "CA_CERT", "TOKEN"] {
        command.env(format!("TOWLINE_{name}"), "");
    }
    Ran::of(command.output().unwrap()).ok();
}

/// [ARCP 14-8] Neither a mistake in a file nor a URL repeats a secret.
#[test]
fn errors_repeat_no_secret() {
    let place = Place::new();
    for url in [
        "ws://u:s3cret@127.0.0.1:1/arcp",
        "http://u:s3cret@h",
        "u:s3cret@h:1",
    ] {
        let ran = place.run(["run", "echo", "--url", url, "--timeout", "5s"]);
        assert_ne!(ran.status, 0);
        assert!(!ran.stderr.contains("s3cret"), "{ran:#?}");
    }
    place.write(
        "towline.toml",
        "[[auth.tokens]]\nprincipal = \"a\"\ntoken = s3cret\n",
    );
    let ran = place
        .run(["jobs"])
        .status(2)
        .says(&["towline.toml", "line 3"]);
    assert!(!ran.stderr.contains("s3cret"), "{ran:#?}");
}

/// [ARCP 14-8] Text of peers is logged through `Shown` alone: `%` writes a text as it is, so what may stand behind it is
/// named here. Ids are minted here or bounded, errors of the store and of the network are the libraries' own.
#[test]
fn text_of_peers_is_logged_through_one_type() {
    const OURS: [&str; 16] = [
        "error",
        "up_to",
        "path.display()",
        "row.id",
        "row.session",
        "row.trace",
        "row.agent",
        "row.at",
        "row.action",
        "session.id",
        "job.id()",
        "ctx.job_id()",
        "entry.id",
        "entry.job",
        "state.entry.id",
        "state.entry.job",
    ];
    const OWN_NAMES: [&str; 6] = [
        "job.row.agent",
        "self.session.id",
        "self.row.id",
        "self.models.ctx.job_id()",
        "cost",
        "status",
    ];
    let mut checked = 0;
    let mut todo = vec![crate::support::repository().join("crates")];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        let in_source = path.components().any(|part| part.as_os_str() == "src");
        if !in_source || path.extension().is_none_or(|end| end != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (at, _) in text.match_indices('%') {
            let before = text[..at].trim_end();
            let after = &text[at + 1..];
            // A field of a log line; a remainder has its operand before it, and a space behind it.
            let is_field = before.ends_with(['=', ',', '('])
                && after.starts_with(|c: char| c.is_ascii_alphabetic());
            if !is_field {
                continue;
            }
            let end = after.find([',', '"', '\n']).unwrap_or(after.len());
            let mut field = after[..end].trim();
            if field.matches('(').count() < field.matches(')').count() {
                field = field.trim_end_matches([')', ';']);
            }
            checked += 1;
            let fine = OURS.contains(&field)
                || OWN_NAMES.contains(&field)
                || field.starts_with("Shown::new(")
                || field.starts_with("towline_wire::Shown::new(");
            assert!(fine, "`%{field}` in {}", path.display());
        }
    }
    assert!(checked > 40, "{checked}");
}

/// [ARCP 14-9] Who may write a token's file says who somebody is, so it is refused; one that everybody may read is warned of.
#[cfg(unix)]
#[test]
fn files_of_tokens_are_looked_at() {
    use std::os::unix::fs::PermissionsExt as _;

    let place = Place::new();
    let file = place.write("alice.token", "s3cret\n");
    let path = file.to_str().unwrap();
    let given = format!("alice:{path}");
    let mode = |bits| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(bits)).unwrap();
    };
    let serve = [
        "serve",
        "--demo",
        "--listen",
        "127.0.0.1:0",
        "--token-file",
        &given,
    ];
    mode(0o666);
    place
        .run(serve)
        .status(21)
        .says(&["alice.token", "may be written by others"]);
    place.write(
        "other.toml",
        "[[auth.tokens]]\nprincipal = \"alice\"\ntoken_file = \"alice.token\"\n",
    );
    place
        .run([
            "serve",
            "--demo",
            "--listen",
            "127.0.0.1:0",
            "--config",
            "other.toml",
        ])
        .status(21)
        .says(&["alice.token", "may be written by others"]);
    let said = |bits| {
        mode(bits);
        let (reader, writer) = std::io::pipe().unwrap();
        let (server, said) = Server::start_speaking(place.command(serve), reader, writer);
        let mine = ["jobs", "--url", &server.url, "--token-file", path];
        let asked = place.run(mine).ok();
        drop(server);
        let said: Vec<String> = said.iter().collect();
        (said.join("\n"), asked.stderr)
    };
    let (server, client) = said(0o644);
    for said in [server, client] {
        assert!(
            said.contains("everybody") && said.contains("alice.token"),
            "{said}"
        );
    }
    let (server, client) = said(0o640);
    for said in [server, client] {
        assert!(!said.contains("everybody"), "{said}");
    }
}
