//! A database as the store.

use serde_json::json;
use towline_postgres::testing::Server as Database;

use crate::support::{Place, TOKEN};

/// Jobs survive the server's death in the database; who looks at it from outside sees them, also while a server has it; nobody
/// else gets it meanwhile.
#[test]
fn jobs_outlive_the_machine_they_ran_on() {
    let Some(database) = Database::get() else {
        return;
    };
    let store = database.url(&database.schema());
    let args = ["--token", TOKEN, "--store", &store, "--node", "one"];
    let place = Place::new();
    let server = place.serve(&args);
    let flags = server.flags();
    let of_server = |args: &[&str]| {
        let flags = flags.iter().map(String::as_str);
        place.run(args.iter().copied().chain(flags))
    };
    of_server(&["run", "echo", "--input", "41"]).ok();
    let audit = place.run([
        "audit", "--store", &store, "--action", "submit", "-o", "ndjson",
    ]);
    assert_eq!(audit.ok().lines().len(), 1);
    let second = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--token",
        TOKEN,
        "--store",
        &store,
    ];
    place
        .run(second)
        .status(21)
        .says(&["node `one`", "--standby"]);

    // Killed, from another directory and thus another machine for all it knows.
    drop(server);
    let elsewhere = Place::new();
    let server = elsewhere.serve(&args);
    let flags = server.flags();
    let listed = elsewhere.run(
        ["jobs", "-o", "json"]
            .into_iter()
            .chain(flags.iter().map(String::as_str)),
    );
    assert!(listed.ok().stdout.contains("success"));
    let verified = place
        .run(["store", "verify", "--store", &store, "-o", "json"])
        .ok()
        .json();
    assert_eq!(
        (&verified["ok"], &verified["stats"]["jobs"]),
        (&json!(true), &json!(1))
    );
    let stats = place
        .run(["store", "stats", "--store", &store, "-o", "json"])
        .ok()
        .json();
    assert_eq!(stats["live_jobs"], 0);
    let none = place.run(["credentials", "--store", &store]).ok();
    assert!(none.stdout.contains("no credentials are out"));
}

/// A standby takes the place of a server that was killed, whatever it is called.
#[test]
fn a_standby_takes_the_place_of_the_dead() {
    let Some(database) = Database::get() else {
        return;
    };
    let store = database.url(&database.schema());
    let (first, second) = (Place::new(), Place::new());
    let server = first.serve(&["--token", TOKEN, "--store", &store, "--node", "one"]);
    let args = [
        "--token",
        TOKEN,
        "--store",
        &store,
        "--node",
        "two",
        "--standby",
    ];
    std::thread::scope(|scope| {
        let standby = scope.spawn(|| second.serve(&args));
        drop(server);
        let standby = standby.join().unwrap();
        let flags = standby.flags();
        let ran = second.run(
            ["run", "echo", "--input", "1"]
                .into_iter()
                .chain(flags.iter().map(String::as_str)),
        );
        assert_eq!(ran.ok().stdout, "1\n");
    });
}

/// A password is where nobody else reads it, and never in what the program says.
#[test]
fn a_password_stays_secret() {
    let place = Place::new();
    let secret = "postgres://towline:s3cret@127.0.0.1:1/towline";
    let hides = |ran: crate::support::Ran| {
        assert!(!format!("{ran:?}").contains("s3cret"), "{ran:#?}");
        ran
    };
    let named = place.run(["serve", "--token", TOKEN, "--store", secret]);
    hides(named)
        .status(2)
        .says(&["postgres://towline@127.0.0.1:1/towline", "postgres_file"]);
    let serve = ["serve", "--listen", "127.0.0.1:0", "--token", TOKEN];
    let by_environment = place.command(serve).env("TOWLINE_STORE", secret).output();
    let ran = crate::support::Ran::of(by_environment.unwrap());
    hides(ran)
        .status(21)
        .says(&["postgres://towline@127.0.0.1:1/towline"]);
    place.write("db", format!("{secret}\n"));
    place.write("towline.toml", "[store]\npostgres_file = \"db\"\n");
    hides(place.run(serve))
        .status(21)
        .says(&["postgres://towline@127.0.0.1:1/towline"]);
    for (text, says) in [
        (
            "[store]\npostgres = \"postgres://u:s3cret@h/d\"",
            "store.postgres",
        ),
        (
            "[store]\npostgres = \"mysql://h/d\"",
            "postgres://USER@HOST/DATABASE",
        ),
        (
            "[store]\npostgres = \"postgres://h/d\"\nsqlite = \"x\"",
            "exclude each other",
        ),
    ] {
        place.write("towline.toml", text);
        hides(place.run(serve)).status(2).says(&[says]);
    }
}

/// What does not fit together is refused, and says what does.
#[test]
fn a_database_is_no_file() {
    let place = Place::new();
    let url = "postgres://towline@127.0.0.1:1/towline";
    for (args, says) in [
        (
            &["store", "backup", "x", "--store", url][..],
            "pg_basebackup",
        ),
        (&["store", "compact", "--store", url], "VACUUM"),
        (
            &["serve", "--standby", "--store", "memory"],
            "--standby is for a store in a database",
        ),
        (
            &[
                "serve",
                "--token",
                TOKEN,
                "--store",
                "postgres://u@db.example/d?sslmode=disable",
            ],
            "without TLS",
        ),
    ] {
        let ran = place.run(args);
        assert_ne!(ran.status, 0);
        ran.says(&[says]);
    }
}
