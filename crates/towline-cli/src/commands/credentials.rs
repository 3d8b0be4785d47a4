//! `towline credentials`: the ledger's open entries, without their values.

use serde::Serialize;
use towline::store::{EventStore as _, SqliteStore};

use super::store::{self, Place};
use crate::{args::CredentialsArgs, context::Context, exit, failure::Outcome, output};

#[derive(Serialize)]
struct Listed {
    credential_id: String,
    job_id: String,
}

pub(super) async fn run(context: &Context, args: CredentialsArgs) -> Outcome {
    let rows = match store::place(context, &args.store)? {
        Place::File(path) if path.exists() => {
            let failed = |error| store::named(&path.display().to_string(), error);
            let store = SqliteStore::open(&path).await.map_err(failed)?;
            let recovered = store.recover().await;
            store.close().await.map_err(failed)?;
            recovered.map_err(failed)?.credentials
        }
        Place::File(_) => Vec::new(),
        Place::Database(database) => {
            let rows = database.look().await?.credentials().await;
            rows.map_err(|error| database.failed(&error))?
        }
    };
    let open = rows.into_iter().filter(|row| row.outstanding);
    let listed: Vec<_> = open
        .map(|row| Listed {
            credential_id: row.id.to_string(),
            job_id: row.job.to_string(),
        })
        .collect();
    output::list(args.format.output, &listed, |listed| match listed {
        [] => "no credentials are out".to_owned(),
        _ => output::table(
            &["CREDENTIAL", "JOB"],
            listed
                .iter()
                .map(|entry| vec![entry.credential_id.clone(), entry.job_id.clone()]),
        ),
    })?;
    Ok(exit::SUCCESS)
}
