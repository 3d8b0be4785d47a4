//! What models cost a job: to the last digit, and not one call more than the budget holds.

use serde_json::{Value, json};
use towline_agents::Style;

use crate::{
    models::{LEASE, run},
    support::{HANGS, Ran, http},
};

fn usage(text: &str) -> String {
    http(
        "200 OK",
        "application/json",
        &format!(r#"{{"usage":{text}}}"#),
    )
}

/// A stream whose length nobody knows before: it ends with the connection.
fn stream(events: &[&str]) -> String {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n\r\n";
    let events: String = events.iter().map(|event| format!("{event}\n\n")).collect();
    format!("{head}{events}")
}

/// The last that a job says is left of its budget.
fn left(ran: &Ran) -> Option<String> {
    let metrics = ran.bodies("metric").into_iter();
    let mut left = metrics.rev();
    left.find(|metric| metric["name"] == "cost.budget.remaining")
        .map(|metric| metric["value"].to_string())
}

const CHAT: &str =
    "call('/v1/chat/completions', {'model': 'priced-1', 'max_tokens': 100, 'messages': []})";
const STREAM: &str = "call('/v1/chat/completions', {'model': 'priced-1', 'max_tokens': 100, 'messages': [], 'stream': True})";
const MESSAGE: &str = "call('/v1/messages', {'model': 'priced-1', 'max_tokens': 100, 'messages': [], 'stream': True})";

/// [ARCP 18-3] Tokens times prices, exactly: in one piece and streamed, read before and kept, of either family, and with all the
/// odd ways to tell it.
#[tokio::test]
async fn what_is_spent_is_what_the_table_says() {
    let script = format!("give([{CHAT}[0] for _ in range(4)] + [{STREAM}])");
    let answers = vec![
        usage(r#"{"prompt_tokens":1,"completion_tokens":0}"#),
        usage(
            r#"{"prompt_tokens":1234,"completion_tokens":4321,"prompt_tokens_details":{"cached_tokens":567}}"#,
        ),
        usage(
            r#"{"prompt_tokens":3.0,"completion_tokens":1,"prompt_tokens_details":null,"total_tokens":"many"}"#,
        ),
        usage(r#"{"prompt_tokens":0,"completion_tokens":0}"#),
        stream(&[
            r#"data: {"choices":[{"delta":{"content":"usage"}}],"usage":null}"#,
            r#"data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":20}}"#,
            "data: [DONE]",
        ]),
    ];
    let (ran, server) = run(Style::OpenAi, answers, &script, &LEASE).await;
    assert_eq!(
        ran.costs(),
        ["0.0000025", "0.04558625", "0.0000175", "0", "0.000225"],
        "{ran:?}"
    );
    // The program did not ask for usage, so it does not see what we asked for; all else comes as it was.
    let seen = ran.gave[4][1].as_str().unwrap();
    assert_eq!(
        seen,
        "data: {\"choices\":[{\"delta\":{\"content\":\"usage\"}}],\"usage\":null}\n\ndata: [DONE]\n\n"
    );
    let body: Value = serde_json::from_str(&server.got()[4].body).unwrap();
    assert_eq!(body["stream_options"], json!({"include_usage": true}));
    let metric = ran.bodies("metric")[0];
    assert_eq!(
        (&metric["unit"], &metric["dimensions"]["model"]),
        (&json!("USD"), &json!("priced-1"))
    );
}

/// The same of Anthropic's.
#[tokio::test]
async fn messages_are_counted_with_what_is_kept() {
    let events = [
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\"cache_creation_input_tokens\":8,\"cache_read_input_tokens\":4,\"output_tokens\":1}}}",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"hi\"}}",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}",
    ];
    let script = format!("give({MESSAGE})");
    let (ran, _server) = run(Style::Anthropic, vec![stream(&events)], &script, &LEASE).await;
    // 25 at 2.50, 8 at 3.125, 4 at 1.25, 15 at 10.
    assert_eq!(ran.costs(), ["0.0002425"], "{ran:?}");
    let seen = ran.gave[1].as_str().unwrap();
    assert_eq!(seen, events.map(|event| format!("{event}\n\n")).concat());
}

/// [ARCP 18-3] An answer that broke off, or does not say what it used, is charged by what was seen and the most that may have been.
#[tokio::test]
async fn what_broke_off_is_charged_as_the_most() {
    let start = "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}";
    let script = format!("give({MESSAGE})");
    let (ran, _server) = run(Style::Anthropic, vec![stream(&[start])], &script, &LEASE).await;
    // 25 tokens were seen to be read; up to 100 may have been written.
    assert_eq!(ran.costs(), ["0.0010625"], "{ran:?}");

    let script = format!("give([{CHAT}[0], {CHAT}[0], {STREAM}[0], {STREAM}[-1]])");
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: {}\n\r\n";
    let answers = vec![
        usage(r#"{"prompt_tokens":-4,"completion_tokens":2}"#),
        usage("null"),
        stream(&["data: [DONE]"]),
        cut.to_owned(),
    ];
    let (ran, _server) = run(Style::OpenAi, answers, &script, &LEASE).await;
    assert_eq!(ran.gave, json!([200, 200, 200, "cut"]), "{ran:?}");
    // Each byte of the request may have been a token, and 100 written.
    let body = r#"{"model": "priced-1", "max_tokens": 100, "messages": []}"#.len() as u64;
    let streamed =
        r#"{"model": "priced-1", "max_tokens": 100, "messages": [], "stream": true}"#.len() as u64;
    // Kept, a token costs 3.125; so much was read, for all that is known, at 2.50.
    let most = |read: u64| {
        let micro = read * 2_500 + 100 * 10_000;
        let text = format!("0.{micro:09}");
        text.trim_end_matches('0').to_owned()
    };
    assert_eq!(
        ran.costs(),
        [most(body), most(body), most(streamed), most(streamed)],
        "{ran:?}"
    );
    let told = ran.bodies("tool_result");
    assert!(
        told.iter()
            .all(|result| result["result"]["estimated"] == true),
        "{told:?}"
    );
}

/// [ARCP 18-3, 9.6-3] The call that uses the budget up is answered and is the last: the next one is 402 with the code, the service
/// is not called again, and the job ends BUDGET_EXHAUSTED once the answer was given.
#[tokio::test]
async fn the_call_that_crosses_is_the_last() {
    // What the program prints after its last answer goes nowhere, so it tells by way of its log.
    let script = format!(
        "
for _ in range(3): print(json.dumps({CHAT}), file=sys.stderr, flush=True)
give('done')"
    );
    let answers = vec![usage(
        r#"{"prompt_tokens":100000,"completion_tokens":30000}"#,
    )];
    let lease = [("model.use", "*"), ("cost.budget", "USD:1")];
    let (ran, server) = run(Style::OpenAi, answers, &script, &lease).await;
    assert_eq!(server.got().len(), 2, "{ran:?}");
    assert_eq!(ran.costs(), ["0.55", "0.55"]);
    assert_eq!(left(&ran).as_deref(), Some("-0.1"));
    assert_eq!(
        ran.failure.as_ref().unwrap().0,
        "BUDGET_EXHAUSTED",
        "{ran:?}"
    );
    let said: Vec<_> = ran
        .bodies("log")
        .iter()
        .filter_map(|log| serde_json::from_str::<Value>(log["message"].as_str()?).ok())
        .collect();
    assert_eq!(said.len(), 3, "{ran:?}");
    assert_eq!(
        (&said[0][0], &said[1][0], &said[2][0]),
        (&json!(200), &json!(200), &json!(402))
    );
    let refused: Value = serde_json::from_str(said[2][1].as_str().unwrap()).unwrap();
    assert_eq!(refused["error"]["code"], "BUDGET_EXHAUSTED");
}

/// [ARCP 18-3] The same when the program makes many calls at once: those that could use the budget up wait for one another.
#[tokio::test]
async fn many_at_once_do_not_spend_more() {
    let script = "
def go(): call('/v1/chat/completions', {'model': 'priced-1', 'max_tokens': 60000, 'messages': []})
all = [threading.Thread(target=go) for _ in range(8)]
[one.start() for one in all]; [one.join() for one in all]
give('done')";
    let answers = vec![usage(r#"{"prompt_tokens":0,"completion_tokens":60000}"#)];
    let (ran, server) = run(Style::OpenAi, answers, script, &LEASE).await;
    assert_eq!(ran.costs(), ["0.6", "0.6"], "{ran:?}");
    assert_eq!(server.got().len(), 2);
    assert_eq!(ran.failure.as_ref().unwrap().0, "BUDGET_EXHAUSTED");
}

/// [ARCP 18-3] A program that goes away in the middle of an answer pays for the most that it may have been, before its job ends.
#[tokio::test]
async fn what_nobody_waits_for_is_paid_for() {
    let script = "
c = http.client.HTTPConnection(*at(env['ANTHROPIC_BASE_URL']), timeout=60)
body = json.dumps({'model': 'priced-1', 'max_tokens': 100, 'messages': [], 'stream': True})
c.request('POST', '/v1/messages', body, {'x-api-key': env['ANTHROPIC_API_KEY']})
give(c.getresponse().readline().decode())";
    let start = "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}";
    let answer = format!("{}{HANGS}", stream(&[start]));
    let (ran, _server) = run(Style::Anthropic, vec![answer], script, &LEASE).await;
    assert_eq!(ran.gave, format!("{start}\n"), "{ran:?}");
    assert_eq!(ran.costs(), ["0.0010625"], "{ran:?}");
}
