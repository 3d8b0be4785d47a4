//! `x-vendor.towline.schedule`: looking at schedules, running, pausing and resuming them [ARCP 22-3].

use std::sync::Arc;

use serde_json::{Value, json};
use towline_proto::{
    refusal::Refusal,
    server::{SCHEDULES, ScheduleRequest},
};
use towline_store::ScheduleChange;
use towline_wire::{ErrorCode, Timestamp};

use super::{
    asker::Asker,
    fire::{FiredBy, fire, set_schedule},
};
use crate::{hub::Hub, schedule::Schedule};

pub(super) async fn run(hub: &Arc<Hub>, asker: &Asker, asked: ScheduleRequest) {
    asker.answer(SCHEDULES, carried_out(hub, asker, asked).await);
}

async fn carried_out(
    hub: &Arc<Hub>,
    asker: &Asker,
    asked: ScheduleRequest,
) -> Result<Value, Refusal> {
    match asked {
        ScheduleRequest::List { next, from } => {
            let from = from.unwrap_or_else(|| hub.now());
            let own = hub.services.schedules.iter();
            let own = own.filter(|schedule| is_for(hub, asker, schedule));
            let shown: Vec<Value> = own
                .map(|schedule| shown(hub, schedule, next, from))
                .collect();
            Ok(json!({ "schedules": shown }))
        }
        ScheduleRequest::Run { name } => {
            let schedule = named(hub, asker, &name)?;
            let now = hub.now().unix_micros();
            let at = Timestamp::from_unix_micros(now - now.rem_euclid(1_000_000));
            let job = fire(hub, &schedule, FiredBy::Hand { at }).await?;
            Ok(json!({ "name": name, "job_id": job }))
        }
        ScheduleRequest::Pause { name } => {
            named(hub, asker, &name)?;
            set(hub, ScheduleChange::pause(name)).await
        }
        ScheduleRequest::Resume { name } => {
            named(hub, asker, &name)?;
            set(hub, ScheduleChange::resume(name, hub.now())).await
        }
    }
}

async fn set(hub: &Hub, change: ScheduleChange) -> Result<Value, Refusal> {
    let answer = json!({ "name": change.name, "paused": change.paused });
    set_schedule(hub, change).await?;
    Ok(answer)
}

/// Whether the asker may know of a schedule, and say what becomes of it: it is its principal's, and an administrator's.
fn is_for(hub: &Hub, asker: &Asker, schedule: &Schedule) -> bool {
    let principal = &asker.session.principal;
    principal == schedule.principal() || hub.services.is_admin(principal)
}

fn named(hub: &Hub, asker: &Asker, name: &str) -> Result<Arc<Schedule>, Refusal> {
    let found = hub.services.schedule(name);
    let found = found.filter(|schedule| is_for(hub, asker, schedule));
    found.cloned().ok_or_else(|| {
        let name: String = name.chars().take(64).collect();
        let message = format!(
            "there is no schedule `{name}`, or it is that of another principal; list those there are"
        );
        Refusal::new(ErrorCode::PERMISSION_DENIED, message)
    })
}

fn shown(hub: &Hub, schedule: &Schedule, next: usize, from: Timestamp) -> Value {
    let row = hub.books.schedules.get(schedule.name());
    let mut shown = schedule.describe();
    // With a clock that was ahead once it is done with times that are still to come.
    let from = row.as_ref().map_or(from, |row| row.done.max(from));
    shown["next"] = json!(schedule.next_times(from, next));
    shown["paused"] = json!(row.as_ref().is_some_and(|row| row.paused));
    shown["last_job_id"] = json!(row.and_then(|row| row.job));
    shown
}
