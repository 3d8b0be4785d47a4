//! `towline store verify|backup|compact|stats`

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use towline::store::{EventStore as _, SqliteStore, StoreError, StoreStats};

use crate::{
    args::{StoreArgs, StoreCommand},
    context::Context,
    exit,
    failure::{Failure, Outcome, chain},
    guard, output,
    store_choice::StoreChoice,
};

/// The status when a check finds something.
const DAMAGED: u8 = 1;

pub(super) async fn run(context: &Context, args: &StoreArgs, command: StoreCommand) -> Outcome {
    let path = path(context, args)?;
    if !path.exists() {
        let failure = Failure::local(format!("there is no store at `{}`", path.display()));
        return Err(failure.help("name it with --path, or the data directory with --data-dir"));
    }
    match command {
        StoreCommand::Verify { format } => {
            let report = blocking(path.clone(), |path| SqliteStore::verify(path)).await?;
            let problems = &report.problems;
            let document = json!({"ok": report.is_ok(), "schema": report.schema, "problems": problems, "stats": stats_fields(&report.stats)});
            output::one(format.output, &document, |_| match problems.as_slice() {
                [] => format!("{}: ok; {}", path.display(), stats_text(&report.stats)),
                problems => format!(
                    "{}: {} problems\n  {}",
                    path.display(),
                    problems.len(),
                    problems.join("\n  ")
                ),
            })?;
            Ok(if report.is_ok() {
                exit::SUCCESS
            } else {
                DAMAGED
            })
        }
        StoreCommand::Backup { to } => {
            let target = to.clone();
            blocking(path, move |path| SqliteStore::backup(path, &target)).await?;
            output::note(&format!("copied to {}", to.display()));
            Ok(exit::SUCCESS)
        }
        StoreCommand::Compact => compact(&path).await,
        StoreCommand::Stats { format } => {
            let stats = blocking(path, |path| SqliteStore::stats_of(path)).await?;
            output::one(format.output, &stats_fields(&stats), |_| stats_text(&stats))?;
            Ok(exit::SUCCESS)
        }
    }
}

/// The store's file: the one that was named, or the one commands here use. It has to be ours alone.
pub(super) fn path(context: &Context, args: &StoreArgs) -> Outcome<PathBuf> {
    let path = match &args.path {
        Some(path) => path.clone(),
        None => match StoreChoice::of_commands(&context.config, &context.data)? {
            StoreChoice::Sqlite { path, .. } => {
                tell_of_server(&path);
                path
            }
            StoreChoice::Memory => {
                return Err(Failure::usage(
                    "the store is in memory, as TOWLINE_STORE or towline.toml says; name a file with --path",
                ));
            }
        },
    };
    guard::store(&path)?;
    Ok(path)
}

/// Whoever named a server may think that it is asked.
fn tell_of_server(path: &Path) {
    if std::env::var_os("TOWLINE_URL").is_some_and(|url| !url.is_empty()) {
        output::note(&format!(
            "TOWLINE_URL names a server, and this command reads a file here: `{}`",
            path.display()
        ));
    }
}

async fn compact(path: &Path) -> Outcome {
    let failed = |error| named(&path.display().to_string(), error);
    let store = SqliteStore::open(path).await.map_err(failed)?;
    let freed = store.compact().await;
    store.close().await.map_err(failed)?;
    output::note(&format!("{} bytes given back", freed.map_err(failed)?));
    Ok(exit::SUCCESS)
}

/// These calls read files for as long as it takes.
pub(super) async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&Path) -> Result<T, StoreError> + Send + 'static,
) -> Outcome<T> {
    let name = path.display().to_string();
    let done = tokio::task::spawn_blocking(move || work(&path)).await;
    done.map_err(|error| Failure::local(format!("the store's thread failed: {error}")))?
        .map_err(|error| named(&name, error))
}

/// A store's error with the file's name, where it does not have it already.
pub(super) fn named(file: &str, error: StoreError) -> Failure {
    let text = chain(&error);
    let failure = if text.contains(file) {
        Failure::local(text)
    } else {
        Failure::local(format!("`{file}`: {text}"))
    };
    match error {
        StoreError::InUse(_) => failure.help("end the process that has it open first"),
        _ => failure,
    }
}

fn stats_fields(stats: &StoreStats) -> Value {
    json!({
        "jobs": stats.jobs,
        "live_jobs": stats.live_jobs,
        "events": stats.events,
        "event_bytes": stats.event_bytes,
        "sessions": stats.sessions,
        "disk_bytes": stats.disk_bytes,
    })
}

fn stats_text(stats: &StoreStats) -> String {
    format!(
        "{} jobs ({} not finished), {} events in {} bytes, {} sessions, {} bytes on disk",
        stats.jobs,
        stats.live_jobs,
        stats.events,
        stats.event_bytes,
        stats.sessions,
        stats.disk_bytes
    )
}
