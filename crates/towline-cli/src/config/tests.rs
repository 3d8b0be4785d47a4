//! What a file may say, and how what it may not is refused.

use super::*;

fn parse(text: &str) -> Outcome<Config> {
    Config::parse(text, Path::new("conf/towline.toml"))
}

/// [ARCP 18-1] What decides who somebody is, and what something costs, is out of every job's reach.
#[test]
fn own_files_are_all_that_decide() {
    let text = "[server]\ntls_cert = \"c.pem\"\ntls_key = \"k.pem\"\n[auth.jwt]\npublic_key_file = \"pub.pem\"\n\
                [models.m]\nstyle = \"openai\"\nbase_url = \"https://a.test/v1\"\nkey_file = \"m.key\"\nprices = \"p.toml\"\n";
    let config = parse(text).unwrap();
    let own = config.own_files();
    for name in [
        "c.pem",
        "k.pem",
        "pub.pem",
        "m.key",
        "p.toml",
        "towline.toml",
    ] {
        assert!(
            own.iter().any(|path| path.ends_with(name)),
            "{name}: {own:?}"
        );
    }
    let text = "[auth.jwt]\njwks_file = \"keys.json\"\n";
    let own = parse(text).unwrap().own_files();
    assert!(
        own.iter().any(|path| path.ends_with("keys.json")),
        "{own:?}"
    );
}

/// [ARCP 19-2] [ARCP 14-9] Servers of tools run programs and are sent tokens: the file says which, and what is not trusted has none.
#[test]
fn servers_of_tools_are_what_a_file_does() {
    let text = "[tools.github]\ncommand = [\"server\", \"--all\"]\n[tools.web]\nurl = \"https://a.test/mcp\"\ntoken_file = \"t\"\n";
    let mut config = parse(text).unwrap();
    let acts = [
        "tools github: server --all",
        "tools web: at https://a.test/mcp",
    ];
    assert_eq!(config.acts(), acts);
    assert!(config.own_files().iter().any(|path| path.ends_with("t")));
    config.withhold();
    assert!(config.acts().is_empty());
}

#[test]
fn servers_of_tools_are_checked() {
    for (text, parts) in [
        (
            "[tools.Git]\ncommand = [\"x\"]",
            ["`tools.Git`", "lower-case"],
        ),
        ("[tools.t]\nenv = {}", ["`tools.t.command`", "url"]),
        (
            "[tools.t]\nurl = \"https://a.test/mcp\"\ncwd = \".\"",
            ["`tools.t.cwd`", "keep one"],
        ),
        (
            "[tools.t]\ncommand = [\"x\"]\ntoken_file = \"f\"",
            ["`tools.t.token_file`", "env"],
        ),
        (
            "[tools.t]\ncommand = [\"x\"]\nenv_pass = [\"TOWLINE_TOKENS\"]",
            ["`tools.t.env_pass`", "`TOWLINE_TOKENS`"],
        ),
        (
            "[tools.t]\nurl = \"https://a.test\"\ntoken = \"x\"",
            ["`tools.t.token`", "token_file"],
        ),
    ] {
        refused(text, &parts);
    }
}

/// What an agent says of itself.
#[test]
fn agents_are_described() {
    let text =
        "[agents.a]\ncommand = [\"x\"]\ndescription = \"Reviews.\"\ninput_schema = \"a.json\"\n";
    let config = parse(text).unwrap();
    assert!(config.agents["a"].input_schema.is_some());
}

#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let failure = parse(text).expect_err(text);
    assert_eq!(failure.status(), crate::exit::USAGE);
    let message = failure.to_string();
    assert!(message.starts_with("conf/towline.toml: "), "{message}");
    for part in parts {
        assert!(message.contains(part), "{message} lacks {part}");
    }
}

const FULL: &str = r#"
        [server]
        listen = "127.0.0.1:0"
        path = "/agents"
        allowed_hosts = ["arcp.example"]
        heartbeat = 15
        resume_window = "10m"
        drain = 0.5
        [server.limits]
        jobs = 500
        [[auth.tokens]]
        principal = "alice"
        token = "s3cret"
        role = "dev"
        [roles.dev]
        agents = ["index", "review@1.*"]
        lease_ceiling = { "fs.read" = ["/srv/**"] }
        budget_per_job = "USD:2.00"
        jobs = 4
        may_watch = "role:dev"
        may_cancel = "all"
        admin = true
        [store]
        sqlite = "data/t.db"
        durability = "power"
        retention = { age = "30d", jobs = 1000, audit_age = "365d", audit_rows = 5000 }
        [credentials.litellm]
        url = "https://llm.example"
        key_file = "litellm.key"
        models = ["gpt-4o"]
        lifetime = "1h"
        [models.main]
        style = "openai"
        base_url = "https://api.openai.com/v1"
        key_file = "openai.key"
        [models.main.prices."gpt-*"]
        currency = "USD"
        input = "2.50"
        output = 10
        cached_input = 1.25
        [agents.review]
        command = ["python3", "review_agent.py"]
        model = "main"
        protocol = "arcp"
        env = { MODE = "fast" }
        "#;

#[test]
fn a_full_file_reads() {
    let config = parse(FULL).unwrap();
    assert_eq!(
        Config::span_of(config.server.heartbeat.as_ref())
            .unwrap()
            .0
            .as_secs(),
        15
    );
    assert_eq!(
        Config::span_of(config.server.drain.as_ref())
            .unwrap()
            .0
            .as_millis(),
        500
    );
    assert_eq!(config.tokens().unwrap()[0].principal, "alice");
    assert_eq!(
        config.path(Path::new("data/t.db")),
        Path::new("conf/data/t.db")
    );
    assert!(!format!("{config:?}").contains("s3cret"));
}

/// [ARCP 20-1] What is wrong with a role is told with its key and the remedy.
#[test]
fn roles_are_checked() {
    let token = "[[auth.tokens]]\nprincipal = \"a\"\ntoken = \"t\"\nrole = \"dve\"\n";
    refused(
        &format!("{token}[roles.dev]\n"),
        &["`auth.tokens[0].role`", "`dve`", "did you mean `dev`"],
    );
    refused(
        "[roles.dev]\nbudget_per_day = \"much\"",
        &["`roles.dev`", "budget_per_day", "USD:5.00"],
    );
    refused(
        "[roles.dev]\nmay_cancel = \"everybody\"",
        &["`roles.dev.may_cancel`", "`everybody`", "role:NAME"],
    );
    refused(
        "[roles.dev]\nmay_watch = \"role:ops\"",
        &["`roles.dev.may_watch`", "`ops`", "there are dev"],
    );
    refused(
        "[roles.dev]\nlease_ceiling = { \"fs.raed\" = [\"/\"] }",
        &["`roles.dev`", "fs.raed"],
    );
    refused("[roles.dev]\njobs = 0", &["`roles.dev.jobs`", "at least 1"]);
    refused(
        "[roles.dev]\nbudget_per_job = \"5\"",
        &["`roles.dev`", "budget_per_job", "USD:5.00"],
    );
    let twice = "[roles.a]\n[[auth.tokens]]\nprincipal = \"a\"\ntoken = \"1\"\nrole = \"a\"\n\
                 [[auth.tokens]]\nprincipal = \"a\"\ntoken = \"2\"\n";
    refused(twice, &["`auth.tokens[1].role`", "the same"]);
}

#[test]
fn unknown_keys_name_the_nearest_one() {
    refused(
        "[server]\nlisten_on = \"x\"",
        &["`server.listen_on`", "listen"],
    );
    refused("[sever]", &["`sever`", "did you mean `server`"]);
    refused(
        "[store]\nsqllite = \"x\"",
        &["`store.sqllite`", "did you mean `sqlite`"],
    );
    refused(
        "[agents.a]\ncomand = []",
        &["`agents.a.comand`", "did you mean `command`"],
    );
    refused(
        "[[auth.tokens]]\nprincpal = \"a\"",
        &["`auth.tokens[0].princpal`", "did you mean `principal`"],
    );
    refused(
        "[server.limits]\njob = 1",
        &["`server.limits.job`", "did you mean `jobs`"],
    );
}

#[test]
fn wrong_values_name_key_value_and_remedy() {
    refused(
        "[server]\nlisten = \"nowhere\"",
        &["`server.listen`", "`nowhere`", "127.0.0.1:7777"],
    );
    refused(
        "[server]\nheartbeat = 0",
        &["`server.heartbeat`", "`0`", "at least 1"],
    );
    refused("[server]\nheartbeat = true", &["heartbeat"]);
    refused(
        "[server]\ntls_cert = \"c.pem\"",
        &["`server.tls_cert`", "server.tls_key"],
    );
    refused(
        "[store]\ndurability = \"disk\"",
        &["`store.durability`", "`disk`", "process", "power"],
    );
    refused("[agents.a]\ncommand = []", &["`agents.a.command`", "empty"]);
    refused(
        "[agents.a]\ncommand = [\"x\"]\nprotocol = \"grpc\"",
        &["`agents.a.protocol`", "`grpc`", "arcp"],
    );
    refused(
        "[agents.a]\nbuiltin = \"chatty\"",
        &["`agents.a.builtin`", "`chatty`", "exec, index"],
    );
    refused(
        "[agents.a]\nurl = \"wss://a.test/arcp\"\ncwd = \"x\"",
        &["`agents.a.cwd`", "programs"],
    );
    refused(
        "[agents.a]\nurl = \"wss://u:secret@a.test/arcp\"",
        &["`agents.a.url`", "token_file"],
    );
    refused(
        "[agents.a]\nurl = \"stdio:python3 agent.py\"",
        &["`agents.a.url`", "command"],
    );
    refused(
        "[agents.a]\nbuiltin = \"exec\"\ncommand = [\"x\"]",
        &["`agents.a.command`", "builtin"],
    );
    refused(
        "[agents.a]\ncommand = [\"x\"]\nenv_pass = [\"LANG\", \"TOWLINE_TOKENS\"]",
        &["`agents.a.env_pass`", "`TOWLINE_TOKENS`", "env"],
    );
    refused(
        "[agents.Bad]\ncommand = [\"x\"]",
        &["`agents.Bad`", "lower-case"],
    );
    refused("[auth.jwt]\nissuer = \"x\"", &["`auth.jwt`", "jwks_url"]);
    refused(
        "[store.retention]\naudit_age = \"never\"",
        &["`store.retention.audit_age`", "`never`"],
    );
    refused(
        "[credentials.litellm]\nurl = \"https://x\"\nkey_file = \"k\"\nlifetime = 0",
        &["`credentials.litellm.lifetime`", "`0`"],
    );
    refused("[credentials.litellm]\nurl = \"x\"", &["key_file"]);
    refused(
        "[models.a]\nstyle = \"azure\"\nbase_url = \"https://x\"\nkey_file = \"k\"",
        &["`models.a.style`", "`azure`", "openai", "anthropic"],
    );
    refused(
        "[models.a]\nbase_ur = \"https://x\"",
        &["`models.a.base_ur`", "did you mean `base_url`"],
    );
    let schedule = "[schedules.s]\nagent = \"echo\"\nprincipal = \"alice\"\n";
    for (line, parts) in [
        (
            "cron = \"61 * * * *\"",
            ["`schedules.s.cron`", "minute `61`"],
        ),
        (
            "cron = \"0 2 * * *\"\nzone = \"Moon\"",
            ["`schedules.s.zone`", "`Moon`"],
        ),
        (
            "cron = \"0 2 * * *\"\nmissed = \"two\"",
            ["`schedules.s.missed`", "one, all and none"],
        ),
        (
            "cron = \"0 2 * * *\"\nbudget = \"5\"",
            ["`schedules.s.budget`", "5"],
        ),
    ] {
        refused(&format!("{schedule}{line}"), &parts);
    }
    let budget = "[agents.a]\ncommand = [\"x\"]\nbudget_default = ";
    for fine in ["\"USD:2.00\"", "[\"USD:2\", \"EUR:1\"]"] {
        parse(&format!("{budget}{fine}")).unwrap();
    }
    refused(
        &format!("{budget}\"2.00\""),
        &["`agents.a.budget_default`", "USD:2.00"],
    );
    let cron = "cron = \"0 2 * * *\"\nagent = \"echo\"";
    for (table, more, parts) in [
        (
            "s",
            "principal = \"\"",
            ["`schedules.s.principal`", "empty"],
        ),
        (
            "s",
            "principal = \"a\\u202Eb\"",
            ["`schedules.s.principal`", "nobody is shown"],
        ),
        (
            "s",
            "principal = \"a\"\nlease = { \"fs.read\" = [\"relative\"] }",
            ["`schedules.s.lease`", "relative"],
        ),
        (
            "\"../x\"",
            "principal = \"a\"",
            ["`schedules.../x`", "64 letters"],
        ),
    ] {
        refused(&format!("[schedules.{table}]\n{cron}\n{more}"), &parts);
    }
    refused("[queues.\"\"]", &["`queues.`", "64 letters"]);
    refused("[queues.q]\nlimit = 0", &["`queues.q.limit`", "1 or more"]);
    refused(
        "[queues.q]\nrate = \"5/d\"",
        &["`queues.q.rate`", "`5/d`", "10/s"],
    );
    refused(
        "[queues.q]\nkey = \"repo\"",
        &["`queues.q.key`", "/repository"],
    );
    refused(
        "[agents.a]\ncommand = [\"x\"]\nqueue = \"q\"",
        &["`agents.a.queue`", "[queues.q]"],
    );
    refused("[server\n", &["1"]);
}

/// [ARCP 14-8] What stands in the file is not repeated: it may be a token.
#[test]
fn mistakes_are_told_without_what_stands_there() {
    for (text, parts) in [
        (
            "[[auth.tokens]]\nprincipal = \"a\"\ntoken = s3cret",
            ["line 3", "`token`"],
        ),
        (
            "[[auth.tokens]]\nprincipal = \"a\"\ntoken = \"s3cret",
            ["line 3", "`token`"],
        ),
        (
            "[[auth.tokens]]\nprincipal = \"a\"\ntoken = [\"s3cret\"]",
            ["line 3", "`token`"],
        ),
        (
            "[[auth.tokens]]\nprincipal = \"a\"\ntoken = 53213",
            ["line 3", "integer"],
        ),
        (
            "[agents.a]\ncommand = \"s3cret, expected x\"",
            ["line 2", "a sequence"],
        ),
        ("[server]\nheartbeat = true", ["line 2", "time span"]),
    ] {
        let message = parse(text).unwrap_err().to_string();
        assert!(
            !message.contains("s3cret") && !message.contains("53213"),
            "{message}"
        );
        assert!(!message.contains('\n'), "{message}");
        for part in parts {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }
}

#[test]
fn secrets_may_stand_in_files() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("alice.token"), "\u{feff}s3cret\n").unwrap();
    let text = "[[auth.tokens]]\nprincipal = \"alice\"\ntoken_file = \"alice.token\"";
    let config = Config::parse(text, &directory.path().join("towline.toml")).unwrap();
    assert_eq!(config.tokens().unwrap()[0].token, "s3cret");
    let config = parse("[[auth.tokens]]\nprincipal = \"alice\"\ntoken_file = \"none\"").unwrap();
    let message = config.tokens().unwrap_err().to_string();
    assert!(
        message.contains("auth.tokens[0].token_file") && message.contains("conf/none"),
        "{message}"
    );
    let config = parse("[[auth.tokens]]\nprincipal = \"alice\"").unwrap();
    assert!(
        config
            .tokens()
            .unwrap_err()
            .to_string()
            .contains("exactly one of token and token_file")
    );
}

#[test]
fn a_file_that_was_asked_for_has_to_be_there() {
    assert!(
        Config::load(Some(Path::new("/no/such/towline.toml")))
            .unwrap_err()
            .to_string()
            .contains("/no/such")
    );
}
