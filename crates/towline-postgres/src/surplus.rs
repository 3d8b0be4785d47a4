//! Removing what the policy does not keep, step by step.

use std::{collections::HashSet, sync::Arc, time::Duration};

use towline_store::{IDEMPOTENCY_AGE, RetentionPolicy, RetentionReport, StoreError};
use towline_wire::{JobId, Timestamp};

use crate::{
    PostgresStore,
    retain::{Chore, Done, Place, Surplus},
    statements::{Sql, int},
};

impl PostgresStore {
    pub(crate) async fn remove_surplus(
        &self,
        now: Timestamp,
        policy: &RetentionPolicy,
        keep: &[JobId],
    ) -> Result<RetentionReport, StoreError> {
        let audit = vec![int(policy.audit_rows), before(now, policy.audit_age), ROWS];
        for (sql, values) in [
            (Sql::OldKeys, vec![before(now, IDEMPOTENCY_AGE), ROWS]),
            (Sql::OldRefusals, vec![int(policy.audit_refused), ROWS]),
            (Sql::OldAudit, audit),
            (Sql::OldCheckpoints, vec![ROWS]),
            (Sql::OldTalks, vec![ROWS]),
        ] {
            while self.chore(Chore::Rows(sql, values.clone())).await?.rows == ROWS.unsigned_abs() {}
        }
        for sql in [Sql::OldCredentials, Sql::OldDeliveries] {
            self.chore(Chore::Rows(sql, Vec::new())).await?;
        }

        let mut report = RetentionReport::default();
        let mut keep: HashSet<JobId> = keep.iter().cloned().collect();
        keep.extend(self.needed_beside().await?);
        let (keep, none) = (Arc::new(keep), Arc::new(HashSet::new()));
        let oldest = before(now, policy.max_age);
        for (keep, surplus) in [
            (&keep, Surplus::Age(oldest)),
            (&keep, Surplus::Jobs(policy.max_jobs)),
            (&keep, Surplus::Bytes(policy.max_bytes)),
            (&none, Surplus::Bytes(policy.max_bytes)),
        ] {
            let mut place = Some((i64::MIN, 0));
            while let Some(after) = place {
                let keep = Arc::clone(keep);
                let chore = Chore::Jobs {
                    keep,
                    surplus,
                    after,
                };
                place = tell(&mut report, self.chore(chore).await?);
            }
        }
        let max_bytes = policy.max_bytes;
        while tell(&mut report, self.chore(Chore::Evict { max_bytes }).await?).is_some() {}
        Ok(report)
    }
}

/// Takes what a step did into the report; where the next one begins.
fn tell(report: &mut RetentionReport, done: Done) -> Option<Place> {
    report.jobs.extend(done.gone);
    report.bytes += done.bytes;
    for (job, oldest) in done.truncated {
        report.truncated.retain(|(known, _)| *known != job);
        report.truncated.push((job, oldest));
    }
    done.next
}

fn before(now: Timestamp, age: Duration) -> i64 {
    now.unix_micros()
        .saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX))
}

/// How many rows a step touches at most.
const ROWS: i64 = 256;
