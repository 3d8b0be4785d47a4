//! Questions of a followed job, asked on the terminal.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use towline::{
    Event, JobId,
    client::Client,
    wire::{
        EventPayload, RawJson,
        event::{InputRequest, QuestionKind},
    },
};

use crate::{
    connect::failed,
    keyboard::{self, Keyboard},
    output::{self, Follower},
};

/// Asks a person who sits at the terminal; nobody where standard input is none.
pub(super) struct Asking {
    client: Client,
    /// Those that wait, the one that is asked now first.
    open: VecDeque<(JobId, InputRequest)>,
    keyboard: Option<Keyboard>,
    /// Those that were answered, and are not settled yet.
    answered: Vec<(JobId, InputRequest)>,
    /// The names of those whose answer was not accepted.
    refused: mpsc::Receiver<String>,
    refuse: mpsc::Sender<String>,
    /// Whether a person reads what is told, and there may be one who types.
    is_attended: bool,
}

impl Asking {
    pub(super) fn new(client: &Client, shows_to_people: bool) -> Self {
        let (refuse, refused) = mpsc::channel(ANSWERS);
        Self {
            client: client.clone(),
            open: VecDeque::new(),
            keyboard: None,
            answered: Vec::new(),
            refused,
            refuse,
            is_attended: shows_to_people,
        }
    }

    /// A job said something: a new question is asked, one that is settled is not any more.
    pub(super) fn heard(&mut self, job: &JobId, payload: &EventPayload, follower: &Follower) {
        if !self.is_attended || !payload.kind.is_of_questions() {
            return;
        }
        match payload.event() {
            // One that nobody could be asked waits in the inbox.
            Ok(Event::InputRequest(request))
                if request.may_answer != Some(false) && keyboard::is_attended() =>
            {
                self.open.push_back((job.clone(), request));
                if self.open.len() == 1 {
                    self.prompt(|line| follower.note(line));
                }
            }
            Ok(Event::InputResolved(resolved)) => {
                let front = self.open.front();
                let was_asked =
                    front.is_some_and(|(_, open)| open.question_id == resolved.question_id);
                let is_open =
                    |(_, open): &(JobId, InputRequest)| open.question_id != resolved.question_id;
                self.open.retain(is_open);
                self.answered.retain(is_open);
                if was_asked {
                    self.prompt(|line| follower.note(line));
                }
            }
            _ => {}
        }
    }

    /// The next line that somebody typed, none when there are no more. Meanwhile what was answered wrongly is asked again. Cancel
    /// safe; waits for ever where nobody is asked.
    pub(super) async fn line(&mut self) -> Option<String> {
        loop {
            let Some(keyboard) = &mut self.keyboard else {
                return std::future::pending().await;
            };
            let refused = tokio::select! {
                line = keyboard.line() => return line,
                // This holds a sender of its own.
                Some(refused) = self.refused.recv() => refused,
            };
            let again =
                |(_, answered): &(JobId, InputRequest)| answered.question_id.as_str() == refused;
            // One that is settled already is asked no more.
            if let Some(at) = self.answered.iter().position(again) {
                self.open.push_front(self.answered.remove(at));
                self.prompt(output::note);
            }
        }
    }

    /// Somebody typed a line.
    pub(super) fn typed(&mut self, line: Option<&str>, follower: &Follower) {
        let Some(line) = line else {
            if !self.open.is_empty() {
                follower.note("nobody types any more; `towline inbox` shows what is asked");
            }
            (self.is_attended, self.keyboard) = (false, None);
            return;
        };
        let Some((job, request)) = self.open.front() else {
            return;
        };
        let (answer, remember) = match answer_of(request, line.trim()) {
            Ok(answer) => answer,
            Err(why) => {
                follower.note(&why);
                return self.prompt(|line| follower.note(line));
            }
        };
        let question = request.question_id.clone();
        let answer = self.client.answer(job.clone(), question.clone(), answer);
        self.answered.extend(self.open.pop_front());
        self.prompt(|line| follower.note(line));
        let refuse = self.refuse.clone();
        tokio::spawn(async move {
            if let Err(error) = answer.remember(remember).await {
                output::note(&format!("the answer was not accepted: {}", failed(error)));
                // The command may be over.
                let _ = refuse.send(question.to_string()).await;
            }
        });
    }

    /// Asks the first of those that wait.
    fn prompt(&mut self, tell: impl Fn(&str)) {
        let Some((_, request)) = self.open.front() else {
            if let Some(keyboard) = &self.keyboard {
                keyboard.withdraw();
            }
            return;
        };
        self.keyboard.get_or_insert_with(Keyboard::new).put();
        for line in prompt_of(request) {
            tell(&line);
        }
    }
}

/// So many answers that were not accepted wait to be asked for again.
const ANSWERS: usize = 16;

/// What a person is shown.
fn prompt_of(request: &InputRequest) -> Vec<String> {
    let mut lines = vec![output::clean(&request.title)];
    lines.extend(request.message.as_deref().map(output::clean));
    if let Some(operation) = &request.operation {
        let text = format!("{} {}", operation.namespace, operation.value);
        lines.push(output::clean(text));
    }
    for (number, option) in (1..).zip(request.options.iter().flatten()) {
        let text = format!("{number}) {} ({})", option.label, option.id);
        lines.push(output::clean(text));
    }
    lines.push(match () {
        () if request.kind == QuestionKind::APPROVAL && request.operation.is_some() => {
            "yes, no or always?".to_owned()
        }
        () if request.kind == QuestionKind::APPROVAL => "yes or no?".to_owned(),
        () if request.kind == QuestionKind::CHOICE => "which one?".to_owned(),
        () if request.kind == QuestionKind::FORM => {
            let schema = request.schema.as_ref().map_or("{}", RawJson::as_str);
            format!("JSON that fits {}", output::clean(schema))
        }
        () => "answer:".to_owned(),
    });
    lines
}

/// What a line says to a question, and whether it is to be remembered.
fn answer_of(request: &InputRequest, line: &str) -> Result<(RawJson, bool), String> {
    if request.kind == QuestionKind::APPROVAL {
        return match line.to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok((true.into(), false)),
            "n" | "no" => Ok((false.into(), false)),
            "a" | "always" if request.operation.is_some() => Ok((true.into(), true)),
            _ => Err("say yes or no".to_owned()),
        };
    }
    if request.kind == QuestionKind::FORM {
        let json = RawJson::parse(line.to_owned());
        return json
            .map(|json| (json, false))
            .map_err(|error| format!("that is not JSON: {error}"));
    }
    let Some(options) = &request.options else {
        return Ok((line.into(), false));
    };
    let numbered = line
        .parse::<usize>()
        .ok()
        .and_then(|number| options.get(number.checked_sub(1)?));
    let chosen = options.iter().find(|option| option.id == line).or(numbered);
    match chosen {
        Some(option) => Ok((option.id.as_str().into(), false)),
        None => Err("that is none of them".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(fields: serde_json::Value) -> InputRequest {
        let mut request = json!({
            "question_id": "q_1", "title": "t", "expires_at": "2030-01-01T00:00:00Z", "default": null,
        });
        let (Some(all), Some(more)) = (request.as_object_mut(), fields.as_object()) else {
            panic!("objects");
        };
        all.extend(more.clone());
        serde_json::from_value(request).unwrap()
    }

    #[test]
    fn lines_are_answers() {
        let operation = json!({"namespace": "fs.write", "value": "/w"});
        let options = json!([{"id": "a", "label": "A"}, {"id": "b", "label": "B"}]);
        let table = [
            (json!({"kind": "approval"}), "Yes", Some(("true", false))),
            (json!({"kind": "approval"}), "always", None),
            (json!({"kind": "approval"}), "", None),
            (
                json!({"kind": "approval", "operation": operation}),
                "a",
                Some(("true", true)),
            ),
            (
                json!({"kind": "choice", "options": options}),
                "2",
                Some(("\"b\"", false)),
            ),
            (
                json!({"kind": "choice", "options": options}),
                "a",
                Some(("\"a\"", false)),
            ),
            (json!({"kind": "choice", "options": options}), "0", None),
            (json!({"kind": "text"}), "so", Some(("\"so\"", false))),
            (
                json!({"kind": "form"}),
                "{\"n\":1}",
                Some(("{\"n\":1}", false)),
            ),
            (json!({"kind": "form"}), "{", None),
        ];
        for (fields, line, expected) in table {
            let answer = answer_of(&request(fields.clone()), line).ok();
            let answer = answer
                .as_ref()
                .map(|(json, remember)| (json.as_str(), *remember));
            assert_eq!(answer, expected, "{fields} {line}");
        }
    }

    #[test]
    fn control_characters_are_shown() {
        let lines = prompt_of(&request(json!({"kind": "text", "title": "a\u{1b}[2Jb"})));
        assert!(lines.iter().all(|line| !line.contains('\u{1b}')));
    }
}
