//! Questions of jobs, as a client asks them of its user.

use rmcp::model::{ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationSchema};
use serde_json::{Map, Value, json};
use towline_wire::{
    JobId, RawJson, Shown,
    event::{InputRequest, QuestionKind},
    payload::Answer,
};

/// What the user said.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    /// An answer.
    Answer(Answer),
    /// Nothing that could be told the job: the question stays open.
    Nothing,
}

/// What the user is asked: a form with the member `answer`, or the question's own form. `None` for what has no such form.
pub(crate) fn request(job: &JobId, question: &InputRequest) -> Option<ElicitRequestParams> {
    let requested_schema = schema(question)?;
    Some(ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: message(job, question),
        requested_schema,
    })
}

/// What a user's reply is to the question that was asked.
///
/// Only what the user accepted and filled in is an answer. Declining an approval is a no; anything else that is declined or
/// put away is not answered, for there is nothing to say in the user's name.
pub(crate) fn said(job: &JobId, question: &InputRequest, reply: &ElicitResult) -> Said {
    let is_approval = question.kind == QuestionKind::APPROVAL;
    let answer = match reply.action {
        ElicitationAction::Accept => accepted(question, reply.content.as_ref()),
        ElicitationAction::Decline if is_approval => Some(Value::Bool(false)),
        _ => None,
    };
    let Some(answer) = answer else {
        return Said::Nothing;
    };
    let remember = reply
        .content
        .as_ref()
        .and_then(|content| content.get(REMEMBER));
    let remember = remember.and_then(Value::as_bool).filter(|_| is_approval);
    Said::Answer(Answer {
        job_id: Some(job.clone()),
        question_id: question.question_id.clone(),
        answer: RawJson::from(answer),
        note: None,
        remember: remember.filter(|remember| *remember),
    })
}

fn accepted(question: &InputRequest, content: Option<&Value>) -> Option<Value> {
    let content = content?;
    if question.kind == QuestionKind::FORM {
        if own_form(question).is_some() {
            return Some(content.clone());
        }
        let text = content.get(ANSWER)?.as_str()?;
        return serde_json::from_str(text).ok();
    }
    let answer = content.get(ANSWER)?;
    let fits = if question.kind == QuestionKind::APPROVAL {
        answer.is_boolean()
    } else {
        answer.is_string()
    };
    fits.then(|| answer.clone())
}

fn schema(question: &InputRequest) -> Option<ElicitationSchema> {
    if question.kind == QuestionKind::FORM
        && let Some(own) = own_form(question)
    {
        return Some(own);
    }
    let mut members = Map::new();
    members.insert(ANSWER.to_owned(), member(question)?);
    if question.kind == QuestionKind::APPROVAL && question.operation.is_some() {
        let title = "Do not ask again for the like of it in this job";
        let remember = json!({"type": "boolean", "title": title, "default": false});
        members.insert(REMEMBER.to_owned(), remember);
    }
    let schema = json!({"type": "object", "properties": members, "required": [ANSWER]});
    serde_json::from_value(schema).ok()
}

fn member(question: &InputRequest) -> Option<Value> {
    let title = Shown::new(&question.title).to_string();
    let kind = &question.kind;
    if *kind == QuestionKind::APPROVAL {
        return Some(json!({"type": "boolean", "title": title}));
    }
    if *kind == QuestionKind::TEXT {
        return Some(json!({"type": "string", "title": title}));
    }
    if *kind == QuestionKind::CHOICE {
        let options = question.options.iter().flatten();
        let options: Vec<Value> = options
            .map(|option| json!({"const": option.id, "title": Shown::new(&option.label).to_string()}))
            .collect();
        return Some(json!({"type": "string", "title": title, "oneOf": options}));
    }
    let is_form = *kind == QuestionKind::FORM;
    is_form.then(|| json!({"type": "string", "title": title, "description": "the answer, as JSON"}))
}

/// The schema of a form, if clients can show it: an object of plain values.
fn own_form(question: &InputRequest) -> Option<ElicitationSchema> {
    let mut schema: Map<String, Value> = question.schema.as_ref()?.read().ok()?;
    schema.remove("additionalProperties");
    let plain = [
        "type",
        "properties",
        "required",
        "title",
        "description",
        "$schema",
    ];
    let is_plain = schema.keys().all(|key| plain.contains(&key.as_str()));
    if !is_plain {
        return None;
    }
    serde_json::from_value(Value::Object(schema)).ok()
}

/// The question, and whose it is: whoever answers has to know what a yes lets through.
fn message(job: &JobId, question: &InputRequest) -> String {
    let mut message = question.title.clone();
    if let Some(more) = &question.message {
        message.push_str("\n\n");
        message.push_str(more);
    }
    if let Some(operation) = &question.operation {
        message.push_str(&format!("\n\n{}: {}", operation.namespace, operation.value));
    }
    message.push_str(&format!("\n\n({job})"));
    Shown::new(message).lines().to_string()
}

const ANSWER: &str = "answer";
const REMEMBER: &str = "remember";

#[cfg(test)]
mod tests {
    use super::*;

    fn question(members: Value) -> InputRequest {
        let mut question = json!({"question_id": "q_1", "title": "Sure?", "expires_at": "2030-01-01T00:00:00Z", "default": null});
        for (name, value) in members.as_object().unwrap() {
            question[name] = value.clone();
        }
        RawJson::from(question).read().unwrap()
    }

    fn answer(question: &InputRequest, reply: Value) -> Option<Value> {
        let job = JobId::parse("job_1").unwrap();
        let reply: ElicitResult = serde_json::from_value(reply).unwrap();
        match said(&job, question, &reply) {
            Said::Answer(answer) => Some(answer.answer.read().unwrap()),
            Said::Nothing => None,
        }
    }

    /// [ARCP 19-1] What a client's user says is an answer; what the user does not say is none, and an approval that is declined
    /// is a no.
    #[test]
    fn replies_are_answers() {
        let approval = question(json!({"kind": "approval"}));
        let choice = question(json!({"kind": "choice", "options": [{"id": "a", "label": "A"}]}));
        let text = question(json!({"kind": "text"}));
        let flat =
            json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
        let form = question(json!({"kind": "form", "schema": flat}));
        let deep = json!({"type": "object", "properties": {"n": {"type": "object"}}});
        let deep = question(json!({"kind": "form", "schema": deep}));
        let accept = |content: Value| json!({"action": "accept", "content": content});
        for (question, reply, expected) in [
            (
                &approval,
                accept(json!({"answer": true})),
                Some(json!(true)),
            ),
            (
                &approval,
                accept(json!({"answer": false})),
                Some(json!(false)),
            ),
            (&approval, accept(json!({"answer": "yes"})), None),
            (&approval, accept(json!({})), None),
            (&approval, json!({"action": "accept"}), None),
            (&approval, json!({"action": "decline"}), Some(json!(false))),
            (&approval, json!({"action": "cancel"}), None),
            (&choice, accept(json!({"answer": "a"})), Some(json!("a"))),
            (&choice, json!({"action": "decline"}), None),
            (&text, accept(json!({"answer": "so"})), Some(json!("so"))),
            (&form, accept(json!({"n": 3})), Some(json!({"n": 3}))),
            (
                &deep,
                accept(json!({"answer": "{\"n\":{}}"})),
                Some(json!({"n": {}})),
            ),
            (&deep, accept(json!({"answer": "{"})), None),
        ] {
            assert_eq!(answer(question, reply.clone()), expected, "{reply}");
        }
    }

    /// Every kind of question has a form, and a choice shows its labels.
    #[test]
    fn questions_are_forms() {
        let job = JobId::parse("job_1").unwrap();
        for (members, part) in [
            (
                json!({"kind": "approval", "operation": {"namespace": "fs.write", "value": "/a"}}),
                "remember",
            ),
            (
                json!({"kind": "choice", "options": [{"id": "a", "label": "Apples"}]}),
                "Apples",
            ),
            (json!({"kind": "text"}), "answer"),
            (
                json!({"kind": "form", "schema": {"type": "object", "properties": {"n": {"type": "string"}}}}),
                "\"n\"",
            ),
        ] {
            let question = question(members);
            let text = serde_json::to_string(&request(&job, &question).unwrap()).unwrap();
            assert!(text.contains(part) && text.contains("Sure?"), "{text}");
        }
    }
}
