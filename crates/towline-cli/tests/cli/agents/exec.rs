//! `exec`: a program as an agent, within what the lease lets it do.

use super::*;

fn exec(place: &Place, argv: &[&str], flags: &[&str]) -> Ran {
    run_agent(place, "exec", json!({"argv": argv}), flags)
}

#[test]
fn a_covered_program_gives_its_output() {
    let place = Place::new();
    let ran = exec(
        &place,
        &["echo", "hello"],
        &["--lease", "tool.call=exec:echo"],
    )
    .ok();
    assert_eq!(ran.stdout, "hello\n");
    let input = json!({"argv": ["cat"], "stdin": "from here"});
    let ran = run_agent(
        &place,
        "exec",
        input,
        &["--lease", "tool.call=exec:cat", "-o", "json"],
    )
    .ok();
    assert_eq!(ran.json()["result"], "from here");
}

/// `--dir` is the directory a program starts in, and may read and write.
#[test]
fn a_job_works_in_a_directory() {
    let place = Place::new();
    let script = "pwd && echo new > made && cat made";
    let work = place.write("work/there", "x");
    let work = work.parent().unwrap().display().to_string();
    let sh = [
        "--lease",
        "tool.call=exec:sh",
        "--lease",
        "tool.call=exec:cat",
    ];
    let ran = exec(
        &place,
        &["sh", "-c", script],
        &[&sh[..], &["--dir", "work"]].concat(),
    )
    .ok();
    assert_eq!(ran.stdout, format!("{work}\nnew\n"));
    assert_eq!(
        std::fs::read_to_string(format!("{work}/made")).unwrap(),
        "new\n"
    );
    // What it writes elsewhere is refused, or in a `/tmp` of its own.
    exec(
        &place,
        &["sh", "-c", "echo x > ../beside"],
        &[&sh[..], &["--dir", "work"]].concat(),
    );
    assert!(!place.path().join("beside").exists());
    place
        .run(["run", "echo", "--dir", ".", "--input", "[1]"])
        .status(2)
        .says(&["--dir", "`[1]`"]);
}

#[test]
fn programs_that_are_not_covered_are_refused() {
    let place = Place::new();
    exec(&place, &["echo", "x"], &[])
        .status(1)
        .says(&["PERMISSION_DENIED", "exec:echo"]);
    exec(
        &place,
        &["/bin/echo", "x"],
        &["--lease", "tool.call=exec:echo"],
    )
    .status(1)
    .says(&["PERMISSION_DENIED"]);
    exec(
        &place,
        &["/bin/echo", "x"],
        &["--lease", "tool.call=exec:*"],
    )
    .status(1)
    .says(&["PERMISSION_DENIED"]);
    exec(&place, &["./echo"], &["--lease", "tool.call=exec:**"])
        .status(1)
        .says(&["INVALID_REQUEST", "bare name"]);
    exec(&place, &[], &["--lease", "tool.call=exec:**"])
        .status(1)
        .says(&["INVALID_REQUEST"]);
    exec(
        &place,
        &["/bin/echo", "x"],
        &["--lease", "tool.call=exec:/bin/echo"],
    )
    .ok();
}

#[test]
fn failures_complaints_and_the_environment() {
    let place = Place::new();
    let shell = ["--lease", "tool.call=exec:sh"];
    let ran = exec(&place, &["sh", "-c", "echo oops >&2; exit 3"], &shell).status(1);
    ran.says(&["oops", "status 3"]);
    let ran = exec(&place, &["sh", "-c", "env | cut -d= -f1 | sort"], &shell).ok();
    let names: Vec<&str> = ran
        .stdout
        .lines()
        .filter(|name| !matches!(*name, "_" | "OLDPWD" | "PWD" | "SHLVL"))
        .collect();
    assert_eq!(
        names,
        [
            "ARCP_JOB_ID",
            "HOME",
            "LANG",
            "PATH",
            "TMPDIR",
            "TOWLINE_ATTEMPT",
            "TOWLINE_EVENTS",
            "TRACEPARENT"
        ]
    );
    let script = "echo $TRACEPARENT";
    let ran = exec(
        &place,
        &["sh", "-c", script],
        &[&shell[..], &["-o", "json"]].concat(),
    )
    .ok()
    .json();
    let trace = ran["trace_id"].as_str().unwrap();
    assert!(
        ran["result"]
            .as_str()
            .unwrap()
            .starts_with(&format!("00-{trace}-")),
        "{ran}"
    );
    exec(
        &place,
        &["no-such-program"],
        &["--lease", "tool.call=exec:*"],
    )
    .status(1)
    .says(&["no-such-program", "status 127"]);
}

/// [ARCP 18-1] A program has a directory of its own, which ends with the job, and the variables that the job gives it.
#[test]
fn a_program_has_a_home_and_variables() {
    let place = Place::new();
    let shell = ["--lease", "tool.call=exec:sh"];
    let script =
        "echo kept > $HOME/a && echo kept > $TMPDIR/b && cat $HOME/a $TMPDIR/b && echo $HOME $MODE";
    let input = json!({"argv": ["sh", "-c", script], "env": {"MODE": "strict"}});
    let ran = run_agent(&place, "exec", input, &shell).ok();
    let said: Vec<&str> = ran.stdout.split_whitespace().collect();
    let ["kept", "kept", home, "strict"] = said[..] else {
        panic!("{ran:?}");
    };
    assert!(home.len() > 1 && !std::path::Path::new(home).exists());
    for (wrong, word) in [
        (json!({"LD_PRELOAD": "/x.so"}), "LD_PRELOAD"),
        (json!({"PATH": "/x"}), "PATH"),
        (json!({"TOWLINE_EVENTS": "1"}), "TOWLINE_EVENTS"),
    ] {
        let input = json!({"argv": ["sh", "-c", ":"], "env": wrong});
        run_agent(&place, "exec", input, &shell)
            .status(1)
            .says(&["INVALID_REQUEST", word]);
    }
    let unknown = json!({"argv": ["sh", "-c", ":"], "environment": {}});
    run_agent(&place, "exec", unknown, &shell)
        .status(1)
        .says(&["INVALID_REQUEST", "environment"]);
}

/// [ARCP 18-1] What it prints is JSON where it is JSON, and each line is an event as well, unless the operator says otherwise.
#[test]
fn output_is_a_value_and_lines_are_live() {
    let place = Place::new();
    let print = ["printf", r#"{"a":1}\n"#];
    let lease = ["--lease", "tool.call=exec:printf"];
    let ndjson = |flags: &[&str]| {
        let flags = [&lease[..], &["-o", "ndjson"], flags].concat();
        let lines = exec(&place, &print, &flags).ok().lines();
        let told = lines
            .iter()
            .any(|line| line["body"]["message"] == r#"{"a":1}"#);
        (lines.last().unwrap()["result"].clone(), told)
    };
    assert_eq!(ndjson(&[]), (json!({"a": 1}), true));
    place.trusted("[agents.exec]\nbuiltin = \"exec\"\nversion = \"9.0.0\"\nresult = \"text\"\nlive = \"off\"\n");
    assert_eq!(ndjson(&[]), (json!("{\"a\":1}\n"), false));
}

#[test]
fn large_output_is_streamed() {
    let place = Place::new();
    let argv = ["head", "-c", "600000", "/dev/zero"];
    let output = place.command([
        "run",
        "exec",
        "--input",
        &json!({"argv": argv}).to_string(),
        "--lease",
        "tool.call=exec:head",
    ]);
    let output = { output }.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.stdout, vec![0; 600_000]);
}

/// [ARCP 18-1] The kernel keeps programs to the lease.
#[test]
fn programs_are_kept_to_the_files_of_the_lease() {
    let place = Place::new();
    let (open, closed) = (
        place.write("open/a.txt", "readable"),
        place.write("closed/b.txt", "secret"),
    );
    let tree = format!("fs.read={}/open/**", place.path().display());
    let flags = ["--lease", "tool.call=exec:cat", "--lease", tree.as_str()];
    let ran = exec(&place, &["cat", open.to_str().unwrap()], &flags).ok();
    assert_eq!(ran.stdout, "readable\n");
    let ran = exec(&place, &["cat", closed.to_str().unwrap()], &flags).status(1);
    assert!(!ran.stdout.contains("secret"), "{ran:?}");
    let target = place.path().join("open/new.txt");
    let script = format!("echo x > {}", target.display());
    let shell = ["--lease", "tool.call=exec:sh", "--lease", tree.as_str()];
    exec(&place, &["sh", "-c", &script], &shell).status(1);
    assert!(!target.exists(), "reading is not writing");
    let write = format!("fs.write={}/open/**", place.path().display());
    exec(
        &place,
        &["sh", "-c", &script],
        &["--lease", "tool.call=exec:sh", "--lease", &write],
    )
    .ok();
    assert!(target.exists());
}

/// [ARCP 18-1] Towline's own files are seen by no program, whatever its lease says; nor is the network.
#[cfg(target_os = "linux")]
#[test]
fn towlines_own_files_and_the_network_are_out_of_reach() {
    let place = Place::new();
    let key = place.write("key", "s3cret");
    place.write(
        "towline.toml",
        "[[auth.tokens]]\nprincipal = \"a\"\ntoken_file = \"key\"\n",
    );
    let tree = format!("fs.read={}/**", place.path().display());
    let flags = ["--lease", "tool.call=exec:sh", "--lease", tree.as_str()];
    let script = format!(
        "cat {} {0}/../towline.toml; ls {1}/state/towline; cat {1}/towline.toml",
        key.display(),
        place.path().display()
    );
    let ran = exec(&place, &["sh", "-c", &script], &flags);
    assert!(
        !ran.stdout.contains("s3cret") && !ran.stdout.contains("principal"),
        "{ran:?}"
    );
    assert!(!ran.stdout.contains("towline.db"), "{ran:?}");
    let fetch = [
        "--lease",
        "tool.call=exec:bash",
        "--lease",
        "net.fetch=https://example.com/**",
    ];
    // The network that a lease gives is the proxy of the job; without, there is not even that.
    let proxy = ["bash", "-c", "echo [$HTTPS_PROXY]"];
    let ran = exec(&place, &proxy, &fetch).ok();
    assert!(ran.stdout.contains("[http://127.0.0.1:"), "{ran:?}");
    let ran = exec(&place, &proxy, &["--lease", "tool.call=exec:bash"]).ok();
    assert!(ran.stdout.contains("[]"), "{ran:?}");
    // What it may fetch goes through the job's proxy, and nothing else goes anywhere.
    let script = "(exec 3<>/dev/tcp/127.0.0.1/22) && echo reached; echo ran";
    let ran = exec(&place, &["bash", "-c", script], &fetch).ok();
    assert!(
        ran.stdout.contains("ran") && !ran.stdout.contains("reached"),
        "{ran:?}"
    );
}

/// [ARCP 18-1] `argv[0]` is asked of the lease without links and `..`.
#[test]
fn a_way_around_a_directory_of_tools_is_refused() {
    let place = Place::new();
    place.write("tools/keep", "");
    let tools = format!("tool.call=exec:{}/tools/**", place.path().display());
    let around = format!(
        "{}/tools/../../../../../../usr/bin/id",
        place.path().display()
    );
    let ran = exec(&place, &[&around], &["--lease", &tools]).status(1);
    ran.says(&["PERMISSION_DENIED"]);
}

#[test]
fn patterns_the_kernel_cannot_be_told_are_left_out_and_named() {
    let place = Place::new();
    let pattern = format!("fs.read={}/*.txt", place.path().display());
    exec(
        &place,
        &["true"],
        &["--lease", "tool.call=exec:true", "--lease", &pattern],
    )
    .ok()
    .says(&["*.txt", "cannot be told"]);
}

/// The program has ended, whoever still holds its output.
#[test]
fn a_background_child_is_not_waited_for() {
    let place = Place::new();
    let argv = ["bash", "-c", "sleep 1000 & echo hi"];
    let ran = exec(&place, &argv, &["--lease", "tool.call=exec:bash"]).ok();
    assert_eq!(ran.stdout, "hi\n");
}

/// A server hosts it by name, without the demo agents.
#[test]
fn it_is_hosted_by_name() {
    let place = Place::new();
    place.trusted("[agents.exec]\nbuiltin = \"exec\"\n[agents.walk]\nbuiltin = \"index\"\n");
    let args = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--token",
        crate::support::TOKEN,
        "--dangerously-grant-any-lease",
    ];
    let server = crate::support::Server::start(place.command(args));
    let flags = server.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let lease = ["--lease", "tool.call=exec:echo"];
    let ran = exec(&place, &["echo", "here"], &[&lease[..], &flags].concat()).ok();
    assert_eq!(ran.stdout, "here\n");
    let list = place
        .run([&["agents", "-o", "json"][..], &flags].concat())
        .ok();
    let names: Vec<Value> = list
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|agent| agent["name"].clone())
        .collect();
    assert_eq!(names, ["exec", "walk"]);
    drop(server);
    // An embedded runtime has them all anyway.
    let ran = exec(&place, &["echo", "there"], &lease).ok();
    assert_eq!(ran.stdout, "there\n");
}

/// What a program started ends with the job, however deep.
#[test]
fn the_whole_group_ends_with_the_job() {
    let place = Place::new();
    // Its number is another one where it has a namespace of its own, so it is known by its arguments.
    let marker = format!("1000.{}", std::process::id());
    let script = format!("sleep {marker} & echo started >&2; wait");
    let input = json!({"argv": ["sh", "-c", script]}).to_string();
    let args = [
        "run",
        "exec",
        "--input",
        &input,
        "--lease",
        "tool.call=exec:sh",
        "--max-runtime",
        "5s",
        "-o",
        "ndjson",
    ];
    let lines = place.run(args).status(1).lines();
    assert_eq!(lines.last().unwrap()["error"]["code"], "TIMEOUT");
    assert!(
        lines
            .iter()
            .any(|line| line["body"]["message"] == "started"),
        "{lines:?}"
    );
    let left = std::fs::read_dir("/proc").unwrap().flatten().find(|entry| {
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        words
            .split(|byte| *byte == 0)
            .any(|word| word == marker.as_bytes())
    });
    assert!(left.is_none(), "still there: {left:?}");
}
