//! A job followed by a person: progress bars and folded events on a terminal, plain lines elsewhere.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use towline::{
    Amount, Event, JobId,
    wire::{EventPayload, event},
};

use super::{
    lines,
    terminal::{DIM, RESET, clean, note, stderr_is_terminal},
};
use crate::facts;

/// At most so many bars at once; further children are followed without one.
const MAX_BARS: usize = 8;

/// Shows events on standard error.
pub(super) struct Human {
    terminal: Option<Terminal>,
    root: Option<JobId>,
    /// Last progress printed, in percent, where there is no terminal: one line for each is too many.
    printed: HashMap<JobId, u64>,
    /// What was spent so far, by the job and its children.
    costs: BTreeMap<String, Amount>,
}

struct Terminal {
    bars: MultiProgress,
    of: HashMap<JobId, Bar>,
    colours: bool,
}

struct Bar {
    bar: ProgressBar,
    folded: u64,
}

impl Human {
    pub(super) fn new() -> Self {
        let colours =
            anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
        let terminal = stderr_is_terminal().then(|| Terminal {
            bars: MultiProgress::new(),
            of: HashMap::new(),
            colours,
        });
        Self {
            terminal,
            root: None,
            printed: HashMap::new(),
            costs: BTreeMap::new(),
        }
    }

    /// A job begins; the first is the one that was asked for.
    pub(super) fn begin(&mut self, job: &JobId, agent: &str) {
        let first = self.root.is_none();
        if first {
            self.root = Some(job.clone());
        }
        let text = format!(
            "{DIM}{:>8}{RESET}  {} as {}",
            "job",
            clean(agent),
            clean(job)
        );
        self.print(&text);
        let Some(terminal) = &mut self.terminal else {
            return;
        };
        if terminal.of.len() < MAX_BARS {
            let bar = terminal.bars.add(ProgressBar::new_spinner());
            bar.set_style(spinner());
            bar.set_prefix(clean(agent));
            bar.enable_steady_tick(Duration::from_millis(120));
            terminal.of.insert(job.clone(), Bar { bar, folded: 0 });
        }
    }

    pub(super) fn event(&mut self, job: &JobId, payload: &EventPayload) {
        match payload.event() {
            Ok(Event::Progress(progress)) => return self.progress(job, &progress),
            Ok(Event::Metric(metric)) => facts::add_cost(&mut self.costs, &metric),
            _ => {}
        }
        let Some(line) = lines::line(payload) else {
            return;
        };
        let text = if self.root.as_ref() == Some(job) {
            line.text
        } else {
            format!("{}  {DIM}{}{RESET}", line.text, clean(job))
        };
        let bar = self
            .terminal
            .as_mut()
            .and_then(|terminal| terminal.of.get_mut(job));
        match bar {
            Some(bar) if line.folds => bar.fold(&text),
            _ => self.print(&text),
        }
    }

    fn progress(&mut self, job: &JobId, progress: &event::Progress) {
        if self.terminal.is_none() {
            return self.print_progress(job, progress);
        }
        let bar = self
            .terminal
            .as_mut()
            .and_then(|terminal| terminal.of.get_mut(job));
        if let Some(bar) = bar {
            bar.progress(progress);
        }
    }

    /// Without a terminal: at each new percent, or each report when there is no total.
    fn print_progress(&mut self, job: &JobId, progress: &event::Progress) {
        let percent = percent(progress);
        if percent.is_some() && self.printed.get(job).copied() == percent {
            return;
        }
        percent.map(|percent| self.printed.insert(job.clone(), percent));
        self.print(&format!(
            "{DIM}{:>8}{RESET}  {}",
            "progress",
            progress_text(progress)
        ));
    }

    /// What was spent, as the line about the end has it.
    pub(super) fn spent(&self) -> String {
        if self.costs.is_empty() {
            return String::new();
        }
        format!("(spent {})", clean(facts::money(&self.costs)))
    }

    /// A job ended.
    pub(super) fn end(&mut self, job: &JobId) {
        let bar = self
            .terminal
            .as_mut()
            .and_then(|terminal| terminal.of.remove(job));
        if let Some(bar) = bar {
            bar.bar.finish_and_clear();
        }
    }

    /// Prints a line above the bars.
    pub(super) fn print(&self, text: &str) {
        let terminal = self
            .terminal
            .as_ref()
            .filter(|terminal| !terminal.of.is_empty());
        let Some(terminal) = terminal else {
            return note(text);
        };
        let plain = || anstream::adapter::strip_str(text).to_string();
        let text = if terminal.colours {
            text.to_owned()
        } else {
            plain()
        };
        // A terminal that fails has nobody to be told of it.
        drop(terminal.bars.println(text));
    }

    /// Hides the bars while something is written to standard output.
    pub(super) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.terminal {
            Some(terminal) => terminal.bars.suspend(write),
            None => write(),
        }
    }
}

impl Bar {
    fn fold(&mut self, text: &str) {
        self.folded += 1;
        let last = anstream::adapter::strip_str(text).to_string();
        self.bar
            .set_message(format!("{} ({} folded)", last.trim_start(), self.folded));
    }

    fn progress(&mut self, progress: &event::Progress) {
        let (Some(current), Some(total)) =
            (whole(progress.current), progress.total.and_then(whole))
        else {
            return self.bar.set_message(progress_text(progress));
        };
        if self.bar.length() != Some(total) {
            self.bar.set_length(total);
            self.bar.set_style(measured());
        }
        self.bar.set_position(current);
        if let Some(message) = &progress.message {
            self.bar.set_message(clean(message));
        }
    }
}

fn whole(amount: towline::Amount) -> Option<u64> {
    let text = amount.to_string();
    text.split('.')
        .next()
        .and_then(|digits| digits.parse().ok())
}

fn percent(progress: &event::Progress) -> Option<u64> {
    let (current, total) = (whole(progress.current)?, whole(progress.total?)?);
    current.saturating_mul(100).checked_div(total)
}

fn progress_text(progress: &event::Progress) -> String {
    let total = progress
        .total
        .map_or_else(String::new, |total| format!("/{total}"));
    let units = progress.units.as_deref().unwrap_or_default();
    let message = progress.message.as_deref().unwrap_or_default();
    clean(format!("{}{total} {units} {message}", progress.current).trim_end())
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn measured() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix} {elapsed} [{bar:24}] {pos}/{len} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
