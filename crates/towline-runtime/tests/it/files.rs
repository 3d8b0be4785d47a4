//! Files through the lease.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::{Value, json};
use towline_runtime::{AgentError, FileError, JobContext, SkipReason, Visit};

use crate::peer::{Peer, runtime};

/// A directory under its real name.
fn tree() -> (tempfile::TempDir, PathBuf) {
    let guard = tempfile::tempdir().unwrap();
    let root = guard.path().canonicalize().unwrap();
    (guard, root)
}

/// Runs `agent` as a job with a lease; gives every frame of it.
async fn run<F, Fut>(lease: Value, constraints: Value, agent: F) -> Vec<Value>
where
    F: Fn(JobContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, AgentError>> + Send + 'static,
{
    let runtime = runtime()
        .agent("files", move |ctx: JobContext, _input: Value| agent(ctx))
        .build()
        .await
        .unwrap();
    let mut alice = Peer::alice(&runtime).await;
    let submit =
        json!({"agent": "files", "lease_request": lease, "lease_constraints": constraints});
    let job = alice.submit(submit).await;
    let frames = alice.until_end(&job).await;
    runtime.shutdown().await;
    frames
}

/// The denials in a job's stream: code and message.
fn denials(frames: &[Value]) -> Vec<(String, String)> {
    let bodies = frames.iter().map(|frame| &frame["payload"]);
    let results = bodies.filter(|payload| payload["kind"] == "tool_result");
    let errors = results.map(|payload| &payload["body"]["error"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    errors
        .map(|error| (text(&error["code"]), text(&error["message"])))
        .collect()
}

fn outcome(frames: &[Value]) -> &Value {
    &frames.last().unwrap()["payload"]
}

/// [ARCP 9.3-1, 9.3-2] what the lease covers can be done, what it does not cover is denied before it is done and stands in
/// the log; nothing else does.
#[tokio::test]
async fn files_are_read_and_written_within_the_lease() {
    let (_guard, root) = tree();
    fs::create_dir(root.join("in")).unwrap();
    fs::write(root.join("in/a"), "alpha").unwrap();
    fs::write(root.join("secret"), "secret").unwrap();
    let at = root.display().to_string();
    let lease = json!({"fs.read": [format!("{at}/in/**")], "fs.write": [format!("{at}/out/**")]});
    let frames = run(lease, json!({}), move |ctx| {
        let at = at.clone();
        async move {
            let files = ctx.files();
            assert_eq!(files.read(&format!("{at}/in/a")).await?, b"alpha");
            assert_eq!(
                files.read_to_string(&format!("{at}/in/../in/./a")).await?,
                "alpha"
            );
            assert_eq!(files.metadata(&format!("{at}/in/a")).await?.len(), 5);
            assert!(!files.exists(&format!("{at}/in/b")).await?);
            files.create_dir_all(&format!("{at}/out/x")).await?;
            files.write(&format!("{at}/out/x/f"), "one").await?;
            files.append(&format!("{at}/out/x/f"), " two").await?;
            let refused = [
                files.read(&format!("{at}/in/../secret")).await.map(drop),
                files.read(&format!("{at}/out/x/f")).await.map(drop),
                files.write(&format!("{at}/in/a"), "changed").await,
                files.remove_file(&format!("{at}/secret")).await,
                files.create_dir_all(&format!("{at}/other/x")).await,
                files.read("relative").await.map(drop),
                files.walk("/").await.map(drop),
            ];
            assert!(
                refused
                    .iter()
                    .all(|result| matches!(result, Err(FileError::Denied(_)))),
                "{refused:?}"
            );
            Ok(Value::Null)
        }
    })
    .await;
    assert_eq!(outcome(&frames)["final_status"], "success", "{frames:?}");
    let denials = denials(&frames);
    assert_eq!(denials.len(), 7);
    assert!(denials.iter().all(|(code, _)| code == "PERMISSION_DENIED"));
    assert!(
        denials[0].1.contains(&format!("{}/secret", root.display())),
        "{denials:?}"
    );
    // Nothing but `running`, the denials and the end.
    assert_eq!(frames.len(), 9);
    assert_eq!(fs::read_to_string(root.join("out/x/f")).unwrap(), "one two");
    assert_eq!(fs::read_to_string(root.join("in/a")).unwrap(), "alpha");
    assert!(root.join("secret").exists() && !root.join("other").exists());
}

/// [ARCP 9.3-1] an agent that gives up on a refusal ends its job with the refusal's code.
#[tokio::test]
async fn a_refusal_ends_the_job_with_its_code() {
    let frames = run(
        json!({"fs.read": ["/nowhere/**"]}),
        json!({}),
        |ctx| async move {
            ctx.files().read("/etc/passwd").await?;
            Ok(Value::Null)
        },
    )
    .await;
    assert_eq!(outcome(&frames)["code"], "PERMISSION_DENIED", "{frames:?}");
}

/// [ARCP 9.2-3] a link out of the lease is denied, and the denial says where it leads.
#[cfg(unix)]
#[tokio::test]
async fn a_link_out_of_the_lease_is_denied() {
    let (_guard, root) = tree();
    fs::create_dir(root.join("in")).unwrap();
    fs::write(root.join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../secret", root.join("in/link")).unwrap();
    let at = root.display().to_string();
    let lease = json!({"fs.read": [format!("{at}/in/**")], "fs.write": [format!("{at}/in/**")]});
    let frames = run(lease, json!({}), move |ctx| {
        let link = format!("{at}/in/link");
        async move {
            let files = ctx.files();
            assert!(files.read(&link).await.unwrap_err().denied().is_some());
            assert!(
                files
                    .write(&link, "changed")
                    .await
                    .unwrap_err()
                    .denied()
                    .is_some()
            );
            assert!(files.metadata(&link).await.unwrap_err().denied().is_some());
            // The link itself is covered.
            files.remove_file(&link).await?;
            Ok(Value::Null)
        }
    })
    .await;
    assert_eq!(outcome(&frames)["final_status"], "success", "{frames:?}");
    let denials = denials(&frames);
    assert_eq!(denials.len(), 3);
    assert!(
        denials[0]
            .1
            .contains(&format!("leads to `{}/secret`", root.display())),
        "{denials:?}"
    );
    assert_eq!(fs::read_to_string(root.join("secret")).unwrap(), "secret");
    assert!(!root.join("in/link").is_symlink());
}

/// [ARCP 9.3-1, 9.3-2] a walk shows what the lease covers, in order, and reports the rest as skipped without a word in the
/// log.
#[cfg(unix)]
#[tokio::test]
async fn a_walk_is_checked_entry_by_entry() {
    let (_guard, root) = tree();
    for dir in ["a/deep", "b", "pruned", "private"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for file in [
        "a/1.txt",
        "a/deep/2.txt",
        "b/3.txt",
        "pruned/4.txt",
        "private/5.txt",
        "z.txt",
    ] {
        fs::write(root.join(file), file).unwrap();
    }
    std::os::unix::fs::symlink("private", root.join("b/link")).unwrap();
    let at = root.display().to_string();
    let covered = ["", "/a/**", "/b/**", "/pruned/**", "/z.txt"];
    let lease: Vec<_> = covered
        .iter()
        .map(|pattern| format!("{at}{pattern}"))
        .collect();
    let frames = run(json!({"fs.read": lease}), json!({}), move |ctx| {
        let at = at.clone();
        async move {
            let files = ctx.files();
            let mut walk = files
                .walk(&at)
                .await?
                .prune(|entry| entry.name() == "pruned");
            let mut seen = Vec::new();
            while let Some(visit) = walk.next().await? {
                seen.push(match visit {
                    Visit::Entry(entry) => format!(
                        "{:?} {} {}",
                        entry.kind(),
                        entry.path(),
                        entry.len().min(99)
                    ),
                    Visit::Skipped {
                        path,
                        reason: SkipReason::NotCovered(_),
                    } => format!("skipped {path}"),
                    other => format!("{other:?}"),
                });
            }
            Ok(json!(seen))
        }
    })
    .await;
    assert_eq!(frames.len(), 2, "{frames:?}");
    let seen: Vec<String> = serde_json::from_value(outcome(&frames)["result"].clone()).unwrap();
    let at = format!("{}/", root.display());
    let seen: BTreeMap<String, String> = seen
        .iter()
        .map(|line| {
            let (kind, rest) = line.split_once(' ').unwrap();
            let (path, _) = rest.split_once(' ').unwrap_or((rest, ""));
            (path.trim_start_matches(&at).to_owned(), kind.to_owned())
        })
        .collect();
    let expected = [
        ("a", "Directory"),
        ("a/1.txt", "File"),
        ("a/deep", "Directory"),
        ("a/deep/2.txt", "File"),
        ("b", "Directory"),
        ("b/3.txt", "File"),
        ("b/link", "Link"),
        ("private", "skipped"),
        ("z.txt", "File"),
    ];
    let expected = expected.map(|(path, kind)| (path.to_owned(), kind.to_owned()));
    assert_eq!(seen, BTreeMap::from(expected));
}

/// A walk of many more entries than are found ahead at once gives each once, in the order of their names.
#[tokio::test]
async fn a_walk_is_complete_and_ordered() {
    let (_guard, root) = tree();
    for dir in 0..10 {
        let dir = root.join(format!("d{dir}"));
        fs::create_dir(&dir).unwrap();
        for file in 0..100 {
            fs::write(dir.join(format!("f{file:02}")), "").unwrap();
        }
    }
    let at = root.display().to_string();
    let frames = run(
        json!({"fs.read": [format!("{at}/**")]}),
        json!({}),
        move |ctx| {
            let at = at.clone();
            async move {
                let mut walk = ctx.files().walk(&at).await?;
                let mut paths = Vec::new();
                while let Some(visit) = walk.next().await? {
                    let Visit::Entry(entry) = visit else {
                        panic!("{visit:?}")
                    };
                    paths.push(entry.path().to_owned());
                }
                assert!(paths.is_sorted());
                assert_eq!(walk.next().await?, None);
                Ok(json!(paths.len()))
            }
        },
    )
    .await;
    assert_eq!(outcome(&frames)["result"], 1010, "{frames:?}");
}

/// [ARCP 9.6-3] once the budget is used up, a walk that is under way ends.
#[tokio::test]
async fn a_walk_ends_with_the_budget() {
    let (_guard, root) = tree();
    for file in 0..600 {
        fs::write(root.join(format!("{file:03}")), "").unwrap();
    }
    let at = root.display().to_string();
    let lease = json!({"fs.read": [format!("{at}/**")], "cost.budget": ["USD:1"]});
    let frames = run(lease, json!({}), move |ctx| {
        let at = at.clone();
        async move {
            let mut walk = ctx.files().walk(&at).await?;
            walk.next().await?;
            ctx.metric("cost.x", 1, Some("USD")).await?;
            while walk.next().await?.is_some() {}
            Ok(Value::Null)
        }
    })
    .await;
    assert_eq!(outcome(&frames)["code"], "BUDGET_EXHAUSTED", "{frames:?}");
}

/// Pipes, directories and oversized files are told apart, and none of them makes a job hang.
#[cfg(unix)]
#[tokio::test]
async fn only_regular_files_are_read() {
    let (_guard, root) = tree();
    let pipe = root.join("pipe");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    fs::write(root.join("big"), vec![b'x'; 11]).unwrap();
    fs::write(root.join("latin"), b"caf\xe9").unwrap();
    let at = root.display().to_string();
    let every = json!([format!("{at}/**")]);
    let frames = run(
        json!({"fs.read": every, "fs.write": every}),
        json!({}),
        move |ctx| {
            let at = at.clone();
            async move {
                let files = ctx.files().read_limit(10);
                let at = |name: &str| format!("{at}/{name}");
                assert!(matches!(
                    files.read(&at("pipe")).await,
                    Err(FileError::NotAFile { .. })
                ));
                assert!(matches!(
                    files.write(&at("pipe"), "x").await,
                    Err(FileError::NotAFile { .. })
                ));
                assert!(matches!(
                    files.read(&at("")).await,
                    Err(FileError::NotAFile { .. })
                ));
                assert!(matches!(
                    files.read(&at("big")).await,
                    Err(FileError::TooLarge { limit: 10, .. })
                ));
                let text = files.read_to_string(&at("latin")).await;
                assert!(matches!(
                    text,
                    Err(FileError::NotText { valid_up_to: 3, .. })
                ));
                assert!(files.read(&at("none")).await.unwrap_err().is_not_found());
                let listed = files.read_dir(&at("")).await?;
                let names: Vec<_> = listed.iter().map(|entry| entry.name()).collect();
                assert_eq!(names, ["big", "latin", "pipe"]);
                Ok(Value::Null)
            }
        },
    )
    .await;
    assert_eq!(outcome(&frames)["final_status"], "success", "{frames:?}");
}
