//! A batch, as columns: what of it is left to write when its changes have been applied in their order in memory.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use towline_store::{
    AuditRow, Batch, Block, Change, CredentialRow, IDEMPOTENCY_AGE, IdempotencyRow, JobRow,
    JobState, Reason, ScheduleRow, SessionRow, StoreError,
    building::{Stream, StreamOp, Tail, put_head, put_op, status_number},
};
use towline_wire::{EventSeq, JobId, RawJson, SessionId};

use crate::{
    deliveries::Deliveries,
    state::{Claim, Known, State},
    statements::{Hidden, Sql, Step, Value, int},
};

/// What a batch comes to.
#[derive(Debug, Default)]
pub(crate) struct Plan<'a> {
    jobs: Vec<(i64, &'a JobRow)>,
    /// States of jobs, new ones and others.
    new_states: BTreeMap<i64, &'a JobState>,
    states: BTreeMap<i64, &'a JobState>,
    blocks: Vec<(i64, i64, &'a Block)>,
    sessions: BTreeMap<i64, &'a SessionRow>,
    gone: Vec<i64>,
    watches: BTreeMap<(i64, &'a JobId), bool>,
    keys: BTreeMap<(&'a str, &'a str), &'a IdempotencyRow>,
    credentials: Vec<(i64, &'a CredentialRow)>,
    credential_at: HashMap<&'a str, usize>,
    audits: Vec<(i64, &'a AuditRow)>,
    checkpoints: BTreeMap<i64, &'a RawJson>,
    talks: BTreeMap<i64, &'a RawJson>,
    /// With whether their time moves, and whether it is said that they are paused.
    schedules: BTreeMap<&'a str, (ScheduleRow, (bool, bool))>,
    deliveries: Deliveries<'a>,
    /// Changes of streams, packed.
    pub(crate) streams: Vec<u8>,
}

impl<'a> Plan<'a> {
    /// Applies a batch that was checked to what is in memory, and says what is to be written.
    pub(crate) fn of(batch: &'a Batch, state: &mut State) -> Self {
        let mut plan = Self::default();
        for change in &batch.changes {
            plan.change(change, state);
        }
        plan
    }

    fn change(&mut self, change: &'a Change, state: &mut State) {
        match change {
            Change::Job(row) => self.add_job(row, state),
            Change::JobState { job, state: to } => self.set_state(job, to, state),
            Change::Block(block) => self.append(block, state),
            Change::Session(row) => self.put_session(row, state),
            Change::SessionGone(session) => self.remove_session(session, state),
            Change::Span { session, span } => {
                self.stream(session, StreamOp::Span(span.clone()), state);
            }
            Change::Trim { session, up_to } => self.stream(session, StreamOp::Trim(*up_to), state),
            Change::Subscribed { session, job } => self.watch(session, job, true, state),
            Change::Unsubscribed { session, job } => self.watch(session, job, false, state),
            Change::Idempotency(row) => {
                self.keys.insert((row.principal.as_str(), &row.key), row);
            }
            Change::Credential(row) => self.put_credential(row, state),
            Change::Delivery(row) => self.deliveries.put(row, state),
            Change::DeliveryState(state) => self.deliveries.set(state),
            Change::Schedule(change) => {
                let row = change.apply(state.schedules.get(&change.name).cloned());
                state.schedules.insert(row.name.clone(), row.clone());
                let (mut moves, mut pauses) = (change.done.is_some(), change.paused.is_some());
                if let Some((_, before)) = self.schedules.get(change.name.as_str()) {
                    (moves, pauses) = (moves || before.0, pauses || before.1);
                }
                self.schedules.insert(&change.name, (row, (moves, pauses)));
            }
            Change::Audit(row) => {
                self.audits.push((state.next.audit, row));
                state.next.audit += 1;
            }
            Change::Checkpoint { job, value } => keep(&mut self.checkpoints, job, value, state),
            Change::Talk { job, value } => keep(&mut self.talks, job, value, state),
        }
    }

    fn add_job(&mut self, row: &'a JobRow, state: &mut State) {
        let key = state.next.row();
        self.jobs.push((key, row));
        self.new_states.insert(key, &row.state);
        state.tally.jobs += 1;
        state.tally.live += 1;
        let known = Known {
            key,
            tail: Tail::EMPTY,
            finished: false,
            owner: Some(state.claim.inc),
        };
        state.jobs.insert(row.id.clone(), known);
        state.set_finished(&row.id, row.state.status.is_terminal());
    }

    fn set_state(&mut self, job: &JobId, to: &'a JobState, state: &mut State) {
        let Some(known) = state.jobs.get(job) else {
            return;
        };
        let key = known.key;
        let states = if self.new_states.contains_key(&key) {
            &mut self.new_states
        } else {
            &mut self.states
        };
        states.insert(key, to);
        state.set_finished(job, to.status.is_terminal());
    }

    fn append(&mut self, block: &'a Arc<Block>, state: &mut State) {
        // The check has seen to it that the job is there.
        let Some(known) = state.jobs.get_mut(block.job()) else {
            return;
        };
        known.tail = Tail::after(block);
        let key = known.key;
        state.tally.events += int(block.len() as u64);
        state.tally.bytes += int(block.text().len() as u64);
        self.blocks.push((key, state.next.row(), block));
    }

    fn put_session(&mut self, row: &'a SessionRow, state: &mut State) {
        let key = match state.streams.get(&row.id) {
            Some(stream) => stream.key,
            None => {
                let key = state.next.row();
                let stream = Stream::new(key, EventSeq::ZERO, None);
                state.streams.insert(row.id.clone(), stream);
                key
            }
        };
        self.sessions.insert(key, row);
    }

    fn remove_session(&mut self, session: &SessionId, state: &mut State) {
        let Some(stream) = state.forget_session(session) else {
            return;
        };
        self.sessions.remove(&stream.key);
        self.watches.retain(|(key, _), _| *key != stream.key);
        self.gone.push(stream.key);
    }

    fn stream(&mut self, session: &SessionId, op: StreamOp, state: &mut State) {
        let Some(stream) = state.streams.get_mut(session) else {
            return;
        };
        put_op(&mut self.streams, stream.key, &op);
        stream.apply(op);
        state.changed(session);
    }

    fn watch(&mut self, session: &SessionId, job: &'a JobId, watches: bool, state: &State) {
        if let Some(stream) = state.streams.get(session) {
            self.watches.insert((stream.key, job), watches);
        }
    }

    fn put_credential(&mut self, row: &'a CredentialRow, state: &mut State) {
        match self.credential_at.get(row.id.as_str()) {
            Some(at) => {
                // Its place, and the job it is for, stay those of the first.
                let (n, _) = self.credentials[*at];
                self.credentials[*at] = (n, row);
            }
            None => {
                self.credential_at
                    .insert(row.id.as_str(), self.credentials.len());
                self.credentials.push((state.next.row(), row));
            }
        }
    }

    /// The statements that write it.
    pub(crate) fn steps(&self, claim: Claim) -> Result<Vec<Step<'a>>, StoreError> {
        let mut steps = Vec::new();
        let inc = claim.inc;
        if !self.jobs.is_empty() {
            steps.push(job_rows(&self.jobs)?);
            steps.push(state_rows(Sql::NewState, &self.new_states, inc));
        }
        if !self.states.is_empty() {
            steps.push(state_rows(Sql::State, &self.states, inc));
        }
        if !self.blocks.is_empty() {
            steps.push(block_rows(&self.blocks, inc));
        }
        if !self.gone.is_empty() {
            for sql in [Sql::SessionGone, Sql::SpansGone, Sql::WatchesGone] {
                steps.push(Step::new(sql, vec![Value::Ints(self.gone.clone())]));
            }
        }
        if !self.sessions.is_empty() {
            let mut step = session_rows(&self.sessions);
            step.values.push(Value::Int(inc));
            steps.push(step);
        }
        for (sql, watches) in [(Sql::Unwatch, false), (Sql::Watch, true)] {
            let rows = self.watches.iter().filter(|(_, is)| **is == watches);
            let (keys, jobs): (Vec<i64>, Vec<&[u8]>) = rows
                .map(|((key, job), _)| (*key, job.as_str().as_bytes()))
                .unzip();
            if !keys.is_empty() {
                steps.push(Step::new(sql, vec![Value::Ints(keys), Value::Texts(jobs)]));
            }
        }
        self.ledger(claim, &mut steps);
        Ok(steps)
    }

    fn ledger(&self, claim: Claim, steps: &mut Vec<Step<'a>>) {
        if !self.keys.is_empty() {
            let mut step = key_rows(self.keys.values().copied());
            let age = i64::try_from(IDEMPOTENCY_AGE.as_micros()).unwrap_or(i64::MAX);
            step.values.push(Value::Bool(claim.is_shared));
            step.values.push(Value::Int(age));
            steps.push(step);
        }
        if !self.credentials.is_empty() {
            let mut step = credential_rows(&self.credentials);
            step.values.push(Value::Int(claim.inc));
            steps.push(step);
        }
        if !self.audits.is_empty() {
            steps.push(audit_rows(&self.audits, claim.is_shared));
        }
        self.deliveries.steps(steps);
        for (moves, pauses) in [(false, false), (false, true), (true, false), (true, true)] {
            let rows = self.schedules.values();
            let rows = rows.filter(|(_, how)| *how == (moves, pauses));
            let rows: Vec<&ScheduleRow> = rows.map(|(row, _)| row).collect();
            if !rows.is_empty() {
                steps.push(schedule_rows(&rows, moves, pauses));
            }
        }
        for (sql, values) in [
            (Sql::Checkpoint, &self.checkpoints),
            (Sql::Talk, &self.talks),
        ] {
            if !values.is_empty() {
                let texts = values.values().map(|value| value.as_str().as_bytes());
                let keys = values.keys().copied().collect();
                steps.push(Step::new(
                    sql,
                    vec![Value::Ints(keys), Value::Texts(texts.collect())],
                ));
            }
        }
    }
}

/// Keeps one value a job; nothing for a job that has gone.
fn keep<'a>(
    values: &mut BTreeMap<i64, &'a RawJson>,
    job: &JobId,
    value: &'a RawJson,
    state: &State,
) {
    if let Some(known) = state.jobs.get(job) {
        values.insert(known.key, value);
    }
}

fn json(row: &JobRow, value: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| {
        let text = format!("job {} cannot be written: {error}", row.id);
        StoreError::Rejected(Reason::because(text, error))
    })
}

fn job_rows<'a>(jobs: &[(i64, &'a JobRow)]) -> Result<Step<'a>, StoreError> {
    fn texts<'a>(jobs: &[(i64, &'a JobRow)], of: impl Fn(&'a JobRow) -> &'a str) -> Value<'a> {
        Value::Texts(jobs.iter().map(|(_, row)| of(row).as_bytes()).collect())
    }
    fn maybe<'a>(
        jobs: &[(i64, &'a JobRow)],
        of: impl Fn(&'a JobRow) -> Option<&'a str>,
    ) -> Value<'a> {
        Value::MaybeTexts(
            jobs.iter()
                .map(|(_, row)| of(row).map(str::as_bytes))
                .collect(),
        )
    }
    let ints =
        |of: &dyn Fn(&JobRow) -> i64| Value::Ints(jobs.iter().map(|(_, row)| of(row)).collect());
    let leases = jobs.iter().map(|(_, row)| json(row, &row.lease));
    let planned = jobs.iter().map(|(_, row)| {
        let planned = row.planned.as_ref();
        planned.map(|planned| json(row, planned)).transpose()
    });
    let constraints = jobs.iter().map(|(_, row)| json(row, &row.constraints));
    let runtimes = jobs.iter().map(|(_, row)| {
        let time = row.max_runtime?;
        Some(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
    });
    let traces = jobs.iter().map(|(_, row)| row.trace.to_bytes().to_vec());
    Ok(Step::new(
        Sql::Job,
        vec![
            Value::Ints(jobs.iter().map(|(key, _)| *key).collect()),
            texts(jobs, |row| row.id.as_str()),
            texts(jobs, |row| row.principal.as_str()),
            texts(jobs, |row| row.session.as_str()),
            maybe(jobs, |row| row.request_id.as_ref().map(|id| id.as_str())),
            texts(jobs, |row| row.agent.name()),
            maybe(jobs, |row| row.agent.version()),
            texts(jobs, |row| row.input.as_str()),
            Value::Owned(leases.collect::<Result<_, _>>()?),
            Value::Owned(constraints.collect::<Result<_, _>>()?),
            Value::MaybeInts(runtimes.collect()),
            maybe(jobs, |row| row.parent.as_ref().map(|id| id.as_str())),
            ints(&|row| i64::from(row.depth)),
            Value::Owned(traces.collect()),
            ints(&|row| row.created_at.unix_micros()),
            maybe(jobs, |row| row.rerun_of.as_ref().map(|id| id.as_str())),
            Value::MaybeOwned(planned.collect::<Result<_, _>>()?),
        ],
    ))
}

fn state_rows<'a>(sql: Sql, states: &BTreeMap<i64, &'a JobState>, inc: i64) -> Step<'a> {
    let rows = || states.values().copied();
    let ints = |of: &dyn Fn(&JobState) -> i64| Value::Ints(rows().map(of).collect());
    let json = |of: &dyn Fn(&'a JobState) -> Option<&'a RawJson>| {
        Value::MaybeTexts(
            rows()
                .map(|state| of(state).map(|json| json.as_str().as_bytes()))
                .collect(),
        )
    };
    let finished = rows().map(|state| state.finished_at.map(|at| at.unix_micros()));
    let started = rows().map(|state| state.started_at.map(|at| at.unix_micros()));
    Step::new(
        sql,
        vec![
            Value::Ints(states.keys().copied().collect()),
            ints(&|state| status_number(state.status)),
            json(&|state| state.budget.as_ref()),
            Value::MaybeInts(finished.collect()),
            json(&|state| state.ending.as_ref()),
            ints(&|state| i64::from(state.attempt)),
            ints(&|state| i64::from(state.progressed)),
            Value::MaybeInts(started.collect()),
            Value::Bools(rows().map(|state| state.chunked).collect()),
            ints(&|state| i64::from(state.retried)),
            Value::Bools(rows().map(|state| state.status.is_terminal()).collect()),
            Value::Int(inc),
        ],
    )
}

fn block_rows(blocks: &[(i64, i64, &Block)], inc: i64) -> Step<'static> {
    let ints =
        |of: &dyn Fn(&(i64, i64, &Block)) -> i64| Value::Ints(blocks.iter().map(of).collect());
    let heads = blocks.iter().map(|(_, _, block)| {
        let mut head = Vec::with_capacity(2 * block.len());
        put_head(&mut head, block);
        head
    });
    let (packed, texts): (Vec<bool>, Vec<Vec<u8>>) =
        blocks.iter().map(|(_, _, block)| pack(block)).unzip();
    let ended = blocks.iter().map(|(_, _, block)| Tail::after(block).ended);
    Step::new(
        Sql::Block,
        vec![
            ints(&|(job, _, _)| *job),
            ints(&|(_, _, block)| int(block.first().value())),
            ints(&|(_, _, block)| int(block.len() as u64)),
            ints(&|(_, n, _)| *n),
            ints(&|(_, _, block)| int(block.text().len() as u64)),
            Value::Bools(packed),
            Value::Bools(ended.collect()),
            Value::Owned(heads.collect()),
            Value::Int(inc),
            Value::Owned(texts),
        ],
    )
}

/// A block's text, compressed where that makes it smaller: it is sent, logged, replicated and kept.
fn pack(block: &Block) -> (bool, Vec<u8>) {
    let text = block.text().as_bytes();
    if text.len() >= LEAST_PACKED {
        let packed = lz4_flex::block::compress(text);
        if packed.len() < text.len() {
            return (true, packed);
        }
    }
    (false, text.to_vec())
}

fn session_rows<'a>(sessions: &BTreeMap<i64, &'a SessionRow>) -> Step<'a> {
    let rows = || sessions.values().copied();
    let texts = |of: &dyn Fn(&'a SessionRow) -> &'a [u8]| Value::Texts(rows().map(of).collect());
    let maybe = |of: &dyn Fn(&'a SessionRow) -> Option<&'a [u8]>| {
        Value::MaybeTexts(rows().map(of).collect())
    };
    let ints = |of: &dyn Fn(&SessionRow) -> i64| Value::Ints(rows().map(of).collect());
    let detached = rows().map(|row| row.detached_at.map(|at| at.unix_micros()));
    Step::new(
        Sql::Session,
        vec![
            Value::Ints(sessions.keys().copied().collect()),
            texts(&|row| row.id.as_str().as_bytes()),
            texts(&|row| row.principal.as_str().as_bytes()),
            texts(&|row| row.token_hash.as_slice()),
            maybe(&|row| row.previous_token_hash.as_ref().map(<[u8; 32]>::as_slice)),
            maybe(&|row| row.skipped_token_hash.as_ref().map(<[u8; 32]>::as_slice)),
            ints(&|row| i64::from(row.features.bits())),
            texts(&|row| row.dialect.as_bytes()),
            ints(&|row| row.created_at.unix_micros()),
            Value::MaybeInts(detached.collect()),
            ints(&|row| int(row.acked.value())),
            ints(&|row| int(row.evicted.value())),
            maybe(&|row| row.proof.as_deref().map(str::as_bytes)),
        ],
    )
}

fn key_rows<'a>(rows: impl Iterator<Item = &'a IdempotencyRow>) -> Step<'a> {
    let rows: Vec<_> = rows.collect();
    let texts = |of: &dyn Fn(&'a IdempotencyRow) -> &'a [u8]| {
        Value::Texts(rows.iter().map(|row| of(row)).collect())
    };
    let used = rows.iter().map(|row| row.created_at.unix_micros());
    Step::new(
        Sql::Key,
        vec![
            texts(&|row| row.principal.as_str().as_bytes()),
            texts(&|row| row.key.as_bytes()),
            texts(&|row| row.job.as_str().as_bytes()),
            texts(&|row| row.fingerprint.as_slice()),
            Value::Ints(used.collect()),
        ],
    )
}

fn credential_rows<'a>(rows: &[(i64, &'a CredentialRow)]) -> Step<'a> {
    let texts = |of: &dyn Fn(&'a CredentialRow) -> &'a str| {
        Value::Texts(rows.iter().map(|(_, row)| of(row).as_bytes()).collect())
    };
    let secrets = rows.iter().map(|(_, row)| Hidden(row.data.expose()));
    Step::new(
        Sql::Credential,
        vec![
            Value::Ints(rows.iter().map(|(n, _)| *n).collect()),
            texts(&|row| row.id.as_str()),
            texts(&|row| row.job.as_str()),
            Value::Bools(rows.iter().map(|(_, row)| row.outstanding).collect()),
            Value::Secrets(secrets.collect()),
        ],
    )
}

fn schedule_rows(rows: &[&ScheduleRow], moves: bool, pauses: bool) -> Step<'static> {
    let names = rows.iter().map(|row| row.name.as_bytes().to_vec());
    let jobs = rows.iter();
    let jobs = jobs.map(|row| row.job.as_ref().map(|id| id.as_str().as_bytes().to_vec()));
    Step::new(
        Sql::Schedule,
        vec![
            Value::Owned(names.collect()),
            Value::Ints(rows.iter().map(|row| row.done.unix_micros()).collect()),
            Value::Bools(rows.iter().map(|row| row.paused).collect()),
            Value::MaybeOwned(jobs.collect()),
            Value::Bool(moves),
            Value::Bool(pauses),
        ],
    )
}

/// Where several count, their numbers are the database's.
fn audit_rows<'a>(rows: &[(i64, &'a AuditRow)], is_shared: bool) -> Step<'a> {
    let texts = |of: &dyn Fn(&'a AuditRow) -> &'a str| {
        Value::Texts(rows.iter().map(|(_, row)| of(row).as_bytes()).collect())
    };
    let times = rows.iter().map(|(_, row)| row.at.unix_micros());
    let numbers = Value::Ints(rows.iter().map(|(n, _)| *n).collect());
    let mut values = vec![
        Value::Ints(times.collect()),
        texts(&|row| row.action.as_str()),
        texts(&|row| row.data.as_str()),
        Value::Bools(rows.iter().map(|(_, row)| row.is_refusal()).collect()),
    ];
    if is_shared {
        return Step::new(Sql::SharedAudit, values);
    }
    values.insert(0, numbers);
    Step::new(Sql::Audit, values)
}

/// Shorter texts gain nothing.
const LEAST_PACKED: usize = 1024;
