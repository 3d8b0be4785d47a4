//! `towline top`: what runs now, on one screen.

use std::{
    collections::HashMap,
    io::{IsTerminal as _, Write as _},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use tokio::{sync::Mutex, task::JoinHandle};
use towline::{
    Event, JobId, JobStatus,
    client::Client,
    wire::{EventPayload, JobSeq, payload::JobListing},
};

use super::jobs::document;
use crate::{
    args::{OutputFormat, TopArgs},
    connect::{Connection, failed},
    context::Context,
    embedded::Purpose,
    exit, facts,
    failure::Outcome,
    output,
    signals::Signals,
};

/// How many jobs are watched for what they say; the others show what a listing says.
const WATCHED: usize = 100;

/// How far back the latest progress of a job is looked for, in events.
const BACK: u64 = 20;

/// How long the first screen waits for what jobs said last.
const FIRST: Duration = Duration::from_millis(300);

pub(super) async fn run(context: &Context, args: TopArgs) -> Outcome {
    let connection = Connection::open(context, &args.connect, Purpose::Look).await?;
    let live =
        args.format.output == OutputFormat::Human && !args.once && std::io::stdout().is_terminal();
    if live {
        return refresh(context, &args, connection).await;
    }
    let mut top = Top::default();
    let outcome = top.once(&connection.client, args.format.output).await;
    drop(top);
    connection.close().await;
    outcome
}

/// Looks again and again until a signal ends it. Where nobody runs jobs, the store is let go of meanwhile, for somebody who
/// comes to.
async fn refresh(context: &Context, args: &TopArgs, connection: Connection) -> Outcome {
    let mut signals = Signals::new()?;
    let screen = Screen::open();
    let mut ticks = tokio::time::interval(args.every.map_or(EVERY, |span| span.0));
    let mut top = Top::default();
    let mut open = Some(connection);
    let outcome = loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = signals.next() => break Ok(exit::SUCCESS),
        }
        let connection = match open.take() {
            Some(connection) => connection,
            None => match Connection::open(context, &args.connect, Purpose::Look).await {
                Ok(connection) => connection,
                Err(failure) => break Err(failure),
            },
        };
        let outcome = top.draw(&connection.client).await;
        if connection.nobody_runs_jobs() || connection.went_away(&outcome) {
            top = Top::default();
            connection.close().await;
        } else {
            open = Some(connection);
            if let Err(failure) = outcome {
                break Err(failure);
            }
        }
    };
    drop((screen, top));
    if let Some(connection) = open {
        connection.close().await;
    }
    outcome
}

/// How often the screen is drawn.
const EVERY: Duration = Duration::from_secs(1);

/// What a job said last.
#[derive(Default, Clone)]
struct Said {
    progress: String,
    last: String,
}

struct Watched {
    said: Arc<Mutex<Said>>,
    task: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Default)]
struct Top {
    watched: HashMap<JobId, Watched>,
}

impl Top {
    async fn once(&mut self, client: &Client, format: OutputFormat) -> Outcome {
        let jobs = self.look(client).await?;
        tokio::time::sleep(FIRST).await;
        let mut rows = Vec::new();
        for job in &jobs {
            let said = self.said(&job.job_id).await;
            let mut document = document(job)?;
            document["progress"] = json!(said.progress);
            document["last"] = json!(said.last);
            rows.push(document);
        }
        let table = self.table(&jobs).await;
        output::list(format, &rows, |_: &[Value]| table)?;
        Ok(exit::SUCCESS)
    }

    async fn draw(&mut self, client: &Client) -> Outcome<()> {
        let jobs = self.look(client).await?;
        let table = self.table(&jobs).await;
        draw(&table)
    }

    /// The live jobs, oldest first. Those that are new are watched, those that ended no longer.
    async fn look(&mut self, client: &Client) -> Outcome<Vec<JobListing>> {
        let list = client.list_jobs().limit(1000).details();
        let list = list.status(JobStatus::Running).status(JobStatus::Pending);
        let mut listed = pin!(list.stream());
        let mut jobs = Vec::new();
        while let Some(job) = listed.try_next().await.map_err(failed)? {
            jobs.push(job);
        }
        self.watched
            .retain(|known, _| jobs.iter().any(|job| job.job_id == *known));
        for job in &jobs {
            if self.watched.len() >= WATCHED {
                break;
            }
            self.watched
                .entry(job.job_id.clone())
                .or_insert_with(|| watch(client.clone(), job));
        }
        Ok(jobs)
    }

    async fn said(&self, job: &JobId) -> Said {
        match self.watched.get(job) {
            Some(watched) => watched.said.lock().await.clone(),
            None => Said::default(),
        }
    }

    async fn table(&self, jobs: &[JobListing]) -> String {
        let running = jobs.iter().filter(|job| job.status == JobStatus::Running);
        let head = format!(
            "{} jobs: {} running, {} waiting",
            jobs.len(),
            running.clone().count(),
            jobs.len() - running.count()
        );
        let mut rows = Vec::new();
        for job in jobs {
            let said = self.said(&job.job_id).await;
            rows.push(vec![
                job.job_id.to_string(),
                job.agent.clone(),
                job.status.to_string(),
                job.principal.clone().unwrap_or_default(),
                facts::duration_of(job).map_or_else(String::new, facts::span),
                said.progress,
                spent_of(job),
                job.open_questions
                    .map_or_else(String::new, |open| open.to_string()),
                said.last,
            ]);
        }
        let table = output::table(
            &[
                "JOB",
                "AGENT",
                "STATUS",
                "PRINCIPAL",
                "AGE",
                "PROGRESS",
                "SPENT",
                "ASKS",
                "LAST",
            ],
            rows.into_iter(),
        );
        format!("{head}\n\n{table}")
    }
}

/// What was spent, of how much.
fn spent_of(job: &JobListing) -> String {
    let spent = facts::spent_of(job);
    let parts: Vec<String> = spent
        .iter()
        .map(|(currency, spent)| {
            let left = job.budget.as_ref().and_then(|left| left.get(currency));
            match left.and_then(|left| left.checked_add(*spent)) {
                Some(all) => format!("{spent}/{all} {currency}"),
                None => format!("{spent} {currency}"),
            }
        })
        .collect();
    parts.join(", ")
}

fn watch(client: Client, job: &JobListing) -> Watched {
    let said = Arc::new(Mutex::new(Said::default()));
    let from = JobSeq::new(job.last_event_seq.value().saturating_sub(BACK));
    let (noted, id) = (Arc::clone(&said), job.job_id.clone());
    let task = tokio::spawn(async move {
        let Ok(mut subscription) = client.subscribe(id).from(from).send().await else {
            return;
        };
        while let Ok(Some(event)) = subscription.next_event().await {
            if let Ok(payload) = event.payload() {
                note(&mut *noted.lock().await, &payload);
            }
        }
    });
    Watched { said, task }
}

fn note(said: &mut Said, payload: &EventPayload) {
    match payload.event() {
        Ok(Event::Progress(progress)) => {
            let total = progress.total.map(|total| format!("/{total}"));
            let units = progress.units.unwrap_or_default();
            let text = format!("{}{} {units}", progress.current, total.unwrap_or_default());
            said.progress = text.trim_end().to_owned();
        }
        _ => {
            if let Some(line) = output::event_line(payload) {
                said.last = line.trim_start().chars().take(LAST_CHARS).collect();
            }
        }
    }
}

/// How much of a job's last words is shown.
const LAST_CHARS: usize = 48;

/// A terminal's other screen, left when this goes.
struct Screen;

impl Screen {
    fn open() -> Self {
        print("\u{1b}[?1049h\u{1b}[?25l");
        Self
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        print("\u{1b}[?25h\u{1b}[?1049l");
    }
}

/// A terminal that fails has nobody to be told of it.
fn print(codes: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(codes.as_bytes()).and_then(|()| out.flush());
}

/// Draws from the top left corner, and clears what was there behind each line and below.
fn draw(text: &str) -> Outcome<()> {
    let mut screen = String::from("\u{1b}[H");
    for line in text.lines() {
        screen.push_str(line);
        screen.push_str("\u{1b}[K\r\n");
    }
    screen.push_str("\u{1b}[J");
    output::write(screen.as_bytes())
}
