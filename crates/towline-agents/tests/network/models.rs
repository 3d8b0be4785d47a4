//! Models: what a program may call, with whose key, and what happens when it may not.

use serde_json::{Value, json};
use towline_agents::{Confinement, Model, Price, Style};

use crate::support::{Ran, Server, Stage, http};

/// The operator's key, which no program sees.
const OPERATOR: &str = "sk-operators-own";

pub(crate) fn model(style: Style, server: &Server) -> Model {
    let amount = |text: &str| text.parse().unwrap();
    let price = Price::new("USD", amount("2.50"), amount("10"))
        .cached_input(amount("1.25"))
        .cache_write(amount("3.125"));
    let base = format!("http://{}", server.address);
    Model::new(style, &base, OPERATOR)
        .unwrap()
        .price("priced*", price)
        .unwrap()
}

/// Runs a script against a service that answers so.
pub(crate) async fn run(
    style: Style,
    answers: Vec<String>,
    script: &str,
    lease: &[(&str, &str)],
) -> (Ran, Server) {
    let server = Server::new(answers).await;
    let confinement = Confinement::new().model(model(style, &server));
    let ran = Stage::new(script, confinement).await.run(lease).await;
    (ran, server)
}

pub(crate) const LEASE: [(&str, &str); 2] = [("model.use", "priced-*"), ("cost.budget", "USD:1")];

/// [ARCP 18-3] The program has a key of its job and sees no other, also where the service repeats what it is sent; the service
/// gets the operator's key and sees no other.
#[tokio::test]
async fn neither_key_is_seen_by_the_wrong_side() {
    let script = "give([sorted(name for name in env if 'KEY' in name or 'URL' in name), env['OPENAI_API_KEY'][:3],
        call('/v1/chat/completions', {'model': 'priced-1', 'messages': []})])";
    let body = format!(
        r#"{{"echo":"Bearer {OPERATOR}","usage":{{"prompt_tokens":1,"completion_tokens":1}}}}"#
    );
    let answer = http("200 OK", "application/json", &body);
    let answer = answer.replacen("\r\n", &format!("\r\nx-echo: {OPERATOR}\r\n"), 1);
    let (ran, server) = run(Style::OpenAi, vec![answer], script, &LEASE).await;
    assert_eq!(
        ran.gave[0],
        json!(["OPENAI_API_KEY", "OPENAI_BASE_URL"]),
        "{ran:?}"
    );
    assert_eq!(ran.gave[1], "jk_");
    assert_eq!(ran.gave[2][0], 200);
    assert!(!format!("{ran:?}").contains(OPERATOR));
    let got = &server.got()[0];
    assert!(
        got.head.starts_with("POST /v1/chat/completions HTTP/1.1"),
        "{}",
        got.head
    );
    assert!(
        got.head
            .contains(&format!("authorization: Bearer {OPERATOR}")),
        "{}",
        got.head
    );
    assert!(
        !got.head.contains("jk_") && !got.body.contains("jk_"),
        "{got:?}"
    );
    assert!(!format!("{:?}", ran.events).contains("jk_"));
}

/// [ARCP 18-3] The other family: its own variables, its own header.
#[tokio::test]
async fn anthropic_programs_find_theirs() {
    let script = "give([env['ANTHROPIC_BASE_URL'][:17], call('/v1/messages?beta=true', {'model': 'priced-1', 'max_tokens': 5, 'messages': []}, headers={'x-api-key': env['ANTHROPIC_API_KEY']})[0], call('/v1/messages/count_tokens', {'model': 'priced-1', 'messages': []})[0]])";
    let answer = http(
        "200 OK",
        "application/json",
        r#"{"usage":{"input_tokens":4,"output_tokens":2}}"#,
    );
    let (ran, server) = run(Style::Anthropic, vec![answer], script, &LEASE).await;
    assert_eq!(ran.gave, json!(["http://127.0.0.1:", 200, 200]), "{ran:?}");
    let head = &server.got()[0].head;
    assert!(
        head.starts_with("POST /v1/messages?beta=true HTTP/1.1"),
        "{head}"
    );
    assert!(
        head.contains(&format!("x-api-key: {OPERATOR}"))
            && head.contains("anthropic-version: 2023-06-01"),
        "{head}"
    );
    assert!(!head.contains("jk_"), "{head}");
    assert_eq!(ran.costs(), ["0.00003"], "counting tokens is free");
}

/// [ARCP 18-3, 9.7-1] A model that `model.use` does not cover, one without a price on a budgeted job, a wrong key, a path that is
/// not offered, a body that is none: refused, and the service is never called.
#[tokio::test]
async fn what_is_not_covered_never_reaches_the_service() {
    let script = "
def says(answer): return [answer[0], json.loads(answer[1])['error']['code']]
chat = '/v1/chat/completions'
give([says(call(chat, {'model': 'other', 'messages': []})), says(call(chat, {'model': 'priced-1', 'Model': 'other', 'messages': []})),
  says(call(chat, {'model': 'unpriced-1', 'messages': []})), says(call(chat, {'model': 'priced-1'}, key='jk_wrong')),
  says(call('/v1/files', {'model': 'priced-1'})), says(call(chat, {'messages': []})), says(call(chat, [1]))])";
    let answer = http("200 OK", "application/json", "{}");
    let lease = [
        ("model.use", "priced-*"),
        ("model.use", "unpriced-*"),
        ("cost.budget", "USD:1"),
    ];
    let (ran, server) = run(Style::OpenAi, vec![answer], script, &lease).await;
    let (denied, invalid) = ("PERMISSION_DENIED", "INVALID_REQUEST");
    assert_eq!(
        ran.gave,
        json!([
            [403, denied],
            [400, invalid],
            [403, denied],
            [401, "UNAUTHENTICATED"],
            [404, invalid],
            [400, invalid],
            [400, invalid]
        ]),
        "{ran:?}"
    );
    assert_eq!(server.got().len(), 0);
    let results = ran.bodies("tool_result");
    assert_eq!(results.len(), 2, "{results:?}");
    assert!(
        results[1]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no price")
    );
}

/// [ARCP 18-3] What a service refuses goes on as it is and costs nothing; a key of the operator's that is not taken is not the
/// program's fault; and a budget that is used up there is told as one here [ARCP 9.8-4].
#[tokio::test]
async fn refusals_of_the_service_cost_nothing() {
    let error = |kind: &str, code: &str| {
        format!(r#"{{"error":{{"message":"m {OPERATOR}","type":"{kind}","code":"{code}"}}}}"#)
    };
    let json_kind = "application/json";
    let answers = vec![
        http("500 Internal Server Error", json_kind, &error("server_error", "x")),
        http("429 Too Many Requests", json_kind, &error("rate_limit", "slow")),
        http("401 Unauthorized", json_kind, &error("auth", "bad_key")),
        http("429 Too Many Requests", json_kind, &error("insufficient_quota", "insufficient_quota")),
        http("404 Not Found", json_kind, &error("invalid_request_error", "model_not_found")),
        "HTTP/1.1 302 Found\r\nlocation: http://b.test/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
        String::new(),
    ];
    let script = "give([call('/v1/chat/completions', {'model': 'priced-1', 'max_tokens': 8, 'messages': []}) for _ in range(7)])";
    let (ran, _server) = run(Style::OpenAi, answers, script, &LEASE).await;
    let gave = ran.gave.as_array().unwrap();
    let statuses: Vec<_> = gave
        .iter()
        .map(|answer| answer[0].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [500, 429, 502, 402, 403, 502, 502], "{ran:?}");
    let body = |at: usize| serde_json::from_str::<Value>(gave[at][1].as_str().unwrap()).unwrap();
    assert_eq!(body(1)["error"]["code"], "slow");
    assert_eq!(body(3)["error"]["code"], "BUDGET_EXHAUSTED");
    assert!(!format!("{ran:?}").contains(OPERATOR));
    // The last one took the request and gave nothing: it may have worked.
    assert_eq!(ran.costs().len(), 1, "{ran:?}");
}

/// With a proxy in its environment a program's library asks that for the models as well, which are at the proxy itself.
#[tokio::test]
async fn models_are_found_through_the_proxy_too() {
    let script = "
body = json.dumps({'model': 'priced-1', 'messages': []})
head = 'POST %s/chat/completions HTTP/1.1\\r\\nHost: x\\r\\nAuthorization: Bearer %s\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n'
give(proxy(head % (env['OPENAI_BASE_URL'], env['OPENAI_API_KEY'], len(body)) + body).split('\\r\\n')[0])";
    let answer = http(
        "200 OK",
        "application/json",
        r#"{"usage":{"prompt_tokens":4,"completion_tokens":2}}"#,
    );
    let lease = [
        ("model.use", "priced-1"),
        ("net.fetch", "https://a.test/**"),
    ];
    let (ran, _server) = run(Style::OpenAi, vec![answer], script, &lease).await;
    assert_eq!(ran.gave, "HTTP/1.1 200 OK", "{ran:?}");
    assert_eq!(
        ran.costs(),
        ["0.00003"],
        "a price is told where there is no budget, too"
    );
}

/// A program that is not confined has models, too. Others reach its port: they have no key, and are asked for the proxy's word.
#[tokio::test]
async fn programs_that_are_not_confined_have_models() {
    let script = r"
stranger = socket.create_connection(at(env['OPENAI_BASE_URL']), 60)
stranger.sendall(b'GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n')
give([call('/v1/chat/completions', {'model': 'priced-1', 'messages': []})[0], 'HTTP_PROXY' in env, stranger.recv(1000).decode()[9:12]])";
    let answer = http(
        "200 OK",
        "application/json",
        r#"{"usage":{"prompt_tokens":4,"completion_tokens":2}}"#,
    );
    let server = Server::new(vec![answer]).await;
    let confinement = Confinement::dangerously_off().model(model(Style::OpenAi, &server));
    let stage = Stage::new(script, confinement).await;
    let ran = stage.run(&LEASE).await;
    assert_eq!(ran.gave, json!([200, false, "407"]), "{ran:?}");
}
