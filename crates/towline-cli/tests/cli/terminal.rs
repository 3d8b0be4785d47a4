//! Questions on a real terminal.
#![cfg(unix)]

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::AsFd as _,
    process::{Child, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use pty_process::{
    Size,
    blocking::{Command, Pty, open},
};
use serde_json::{Value, json};

use crate::support::{Place, Ran};

/// Whoever shows nothing for so long shows nothing.
const LONG: Duration = Duration::from_secs(60);

/// The program on a terminal of its own, which is its standard input and error; standard output is a pipe.
struct Terminal {
    keys: Pty,
    child: Child,
    shows: Receiver<String>,
    /// What was shown and not looked for yet.
    shown: String,
}

impl Terminal {
    /// Starts the program, on a terminal where somebody typed already.
    fn start(place: &Place, args: &[&str], ahead: &str) -> Self {
        Self::start_with(
            Command::from(place.command(args)).stdout(Stdio::piped()),
            ahead,
        )
    }

    fn start_with(command: Command, ahead: &str) -> Self {
        let (mut keys, screen) = open().unwrap();
        keys.resize(Size::new(24, 120)).unwrap();
        keys.write_all(ahead.as_bytes()).unwrap();
        let child = command.spawn(screen).unwrap();
        let mut reader = File::from(keys.as_fd().try_clone_to_owned().unwrap());
        let (show, shows) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // Reading fails when the program has ended.
            while let Ok(length) = reader.read(&mut piece) {
                let text = String::from_utf8_lossy(&piece[..length]).into_owned();
                if length == 0 || show.send(text).is_err() {
                    return;
                }
            }
        });
        let shown = String::new();
        Self {
            keys,
            child,
            shows,
            shown,
        }
    }

    /// Waits until this is shown; what comes after is looked for next.
    #[track_caller]
    fn until(&mut self, text: &str) {
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return;
            }
            let more = self.shows.recv_timeout(LONG);
            self.shown += &more.unwrap_or_else(|_| panic!("no `{text}` in {:?}", self.shown));
        }
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Its end. What it showed stays on the terminal.
    fn ends(self) -> Ran {
        let Self {
            child,
            keys,
            shows,
            shown,
        } = self;
        let mut ran = Ran::of(child.wait_with_output().unwrap());
        drop(keys);
        ran.stderr = shown + &shows.iter().collect::<String>();
        ran
    }
}

const APPROVAL: [&str; 4] = [
    "run",
    "ask",
    "--input",
    r#"{"kind":"approval","title":"Go?"}"#,
];

fn answered(answer: bool) -> Value {
    json!({"outcome": "answered", "answer": answer})
}

/// [ARCP 15-1] A person is asked, and asked again when the answer is none.
#[test]
fn a_question_is_asked_and_answered() {
    let place = Place::new();
    let mut terminal = Terminal::start(&place, &APPROVAL, "");
    terminal.until("Go?");
    terminal.until("yes or no?");
    terminal.types("perhaps\n");
    terminal.until("say yes or no");
    terminal.until("yes or no?");
    terminal.types("yes\n");
    assert_eq!(terminal.ends().ok().json(), answered(true));
}

/// [ARCP 15-1] An answer that the runtime refuses leaves the question open, and the person is asked again.
#[test]
fn a_refused_answer_is_asked_for_again() {
    let place = Place::new();
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let form = json!({"kind": "form", "title": "How many?", "schema": schema}).to_string();
    let mut terminal = Terminal::start(&place, &["run", "ask", "--input", &form], "");
    terminal.until("JSON that fits");
    terminal.types("{\"n\":\"x\"}\n");
    terminal.until("was not accepted");
    terminal.until("JSON that fits");
    terminal.types("{\"n\":3}\n");
    let given = terminal.ends().ok().json();
    assert_eq!(given["answer"], json!({"n": 3}), "{given}");
}

/// What was typed before a question was shown answers nothing: neither lines, nor the beginning of one.
#[test]
fn keys_typed_ahead_are_no_answer() {
    let place = Place::new();
    let mut terminal = Terminal::start(&place, &APPROVAL, "yes\nyes\nye");
    terminal.until("yes or no?");
    terminal.types("no\n");
    assert_eq!(terminal.ends().ok().json(), answered(false));
}

/// One line answers one question: a second one that comes with it is not for a question that nobody has seen.
#[test]
fn one_line_answers_one_question() {
    let place = Place::new();
    let ops = json!({"ops": [["tool.call", "a.one"], ["tool.call", "a.two"]]}).to_string();
    let args = ["run", "access", "--input", &ops, "--ask", "tool.call=a.*"];
    let mut terminal = Terminal::start(&place, &args, "always\n");
    terminal.until("a.one");
    terminal.until("yes, no or always?");
    terminal.types("yes\nyes\nalways\n");
    terminal.until("a.two");
    terminal.until("yes, no or always?");
    terminal.types("no\n");
    let answers = terminal.ends().ok().json();
    let allowed = |n: usize| answers[n]["allowed"].clone();
    assert_eq!([allowed(0), allowed(1)], [json!(true), json!(false)]);
}

/// [ARCP 15-4] Ctrl-C at a question cancels the job.
#[test]
fn ctrl_c_at_a_question_cancels() {
    let place = Place::new();
    let mut terminal = Terminal::start(&place, &APPROVAL, "");
    terminal.until("yes or no?");
    terminal.types("\u{3}");
    terminal.until("cancelling");
    terminal.ends().status(130).says(&["CANCELLED"]);
    let listed = place.run(["jobs", "-o", "json"]).ok().json();
    assert_eq!(listed[0]["status"], "cancelled");
}

/// The end of standard input is no answer: the question waits for somebody else.
#[test]
fn whoever_types_no_more_is_not_asked() {
    let place = Place::new();
    let mut terminal = Terminal::start(&place, &APPROVAL, "");
    terminal.until("yes or no?");
    terminal.types("\u{4}");
    terminal.until("nobody types any more");
    let listed = place.run(["jobs", "-o", "json"]).ok().json();
    place
        .run(["approve", listed[0]["job_id"].as_str().unwrap()])
        .ok();
    assert_eq!(terminal.ends().ok().json(), answered(true));
}

/// `top` shows what comes and goes, and where nobody runs jobs it lets those in who do.
#[test]
fn top_lets_others_run_jobs() {
    let place = Place::new();
    let top = place.command(["top", "--every", "20ms"]);
    let mut terminal = Terminal::start_with(Command::from(top).stdin(Stdio::null()), "");
    terminal.until("0 jobs: 0 running");
    let mut run = place.command(["run", "sleep", "--input", r#"{"ms":3600000}"#]);
    let mut run = run
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    terminal.until("1 jobs: 1 running");
    let listed = place.run(["jobs", "-o", "json"]).ok().json();
    place
        .run(["cancel", listed[0]["job_id"].as_str().unwrap()])
        .ok();
    run.wait().unwrap();
    terminal.until("0 jobs: 0 running");
    terminal.types("\u{3}");
    terminal.ends().ok();
}

/// Where there is no terminal nobody is asked, whatever stands on standard input; the question is in the inbox.
#[test]
fn without_a_terminal_nobody_is_asked() {
    let place = Place::new();
    let mut command = place.command(APPROVAL);
    command.stdin(File::open(place.write("answers", "yes\n")).unwrap());
    let running = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = running.spawn().unwrap();
    let job = loop {
        let open = place.run(["inbox", "-o", "json"]).ok().json();
        if let Some(job) = open[0]["job_id"].as_str() {
            break job.to_owned();
        }
    };
    place.run(["deny", &job]).ok();
    let ran = Ran::of(running.wait_with_output().unwrap()).ok();
    assert_eq!(ran.json(), answered(false));
    assert!(!ran.stderr.contains("yes or no?"), "{ran:#?}");
}
