use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn table(cron: &str, zone: &str) -> Timetable {
    Timetable::new(cron.parse().unwrap(), Zone::named(zone).unwrap())
}

#[track_caller]
fn times(cron: &str, zone: &str, from: &str, expected: &[&str]) {
    let table = table(cron, zone);
    let found: Vec<String> = table
        .times(at(from))
        .take(expected.len())
        .map(seconds_text)
        .collect();
    assert_eq!(found, expected, "{cron} in {zone}");
    let backwards = table.last_until(at(expected[expected.len() - 1]));
    assert_eq!(backwards, Some(at(expected[expected.len() - 1])));
}

/// [ARCP 22-1] Five fields, or six with seconds first.
#[test]
fn fields_mean_what_crontab_says() {
    let from = "2026-01-01T00:00:00Z";
    times(
        "*/20 * * * *",
        "UTC",
        from,
        &[
            "2026-01-01T00:20:00Z",
            "2026-01-01T00:40:00Z",
            "2026-01-01T01:00:00Z",
        ],
    );
    times(
        "*/20 * * * * *",
        "UTC",
        from,
        &[
            "2026-01-01T00:00:20Z",
            "2026-01-01T00:00:40Z",
            "2026-01-01T00:01:00Z",
        ],
    );
    times(
        "0 9-17/4 * * mon-fri",
        "UTC",
        from,
        &[
            "2026-01-01T09:00:00Z",
            "2026-01-01T13:00:00Z",
            "2026-01-01T17:00:00Z",
            "2026-01-02T09:00:00Z",
            "2026-01-02T13:00:00Z",
            "2026-01-02T17:00:00Z",
            "2026-01-05T09:00:00Z",
        ],
    );
    times(
        "15,45 3 1 JAN,jul *",
        "UTC",
        from,
        &[
            "2026-01-01T03:15:00Z",
            "2026-01-01T03:45:00Z",
            "2026-07-01T03:15:00Z",
        ],
    );
    times(
        "0 0 * * 7",
        "UTC",
        from,
        &["2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"],
    );
    times(
        "50/5 23 31 12 *",
        "UTC",
        from,
        &[
            "2026-12-31T23:50:00Z",
            "2026-12-31T23:55:00Z",
            "2027-12-31T23:50:00Z",
        ],
    );
    // Both restricted: one of either.
    times(
        "0 0 13 * FRI",
        "UTC",
        from,
        &[
            "2026-01-02T00:00:00Z",
            "2026-01-09T00:00:00Z",
            "2026-01-13T00:00:00Z",
            "2026-01-16T00:00:00Z",
        ],
    );
}

#[test]
fn what_is_no_expression_is_told() {
    for (text, says) in [
        ("* * * *", "has 5 fields"),
        ("* * * * * * *", "this one has 7"),
        ("", "this one has 0"),
        ("60 * * * *", "minute `60`"),
        ("* 24 * * *", "from 0 to 23"),
        ("* * 0 * *", "day of the month `0`"),
        ("* * * FOO *", "a name from JAN to DEC"),
        ("* * * * 8", "weekday `8`"),
        ("*/0 * * * *", "write `*/5`"),
        ("5-1 * * * *", "begins after its end"),
        ("1,,2 * * * *", "minute ``"),
        ("+1 * * * *", "minute `+1`"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 4,6,9,11 *", "never comes"),
    ] {
        let error = text.parse::<Cron>().unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    let error = Zone::named("Mars/Olympus").unwrap_err().to_string();
    assert!(error.contains("Mars/Olympus") && error.contains("Europe/Berlin"));
}

/// [ARCP 22-1] A local time that is skipped does not fire.
#[test]
fn the_clocks_go_forward() {
    let from = "2026-03-28T12:00:00Z";
    times(
        "30 2 * * *",
        "Europe/Berlin",
        from,
        &["2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"],
    );
    times(
        "*/30 * * * *",
        "Europe/Berlin",
        "2026-03-29T00:00:00Z",
        &[
            "2026-03-29T00:30:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-29T01:30:00Z",
        ],
    );
    times(
        "0 3 * * *",
        "Europe/Berlin",
        from,
        &["2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"],
    );
    times(
        "0 2 8 3 *",
        "America/New_York",
        "2026-01-01T00:00:00Z",
        &["2027-03-08T07:00:00Z"],
    );
    // A whole day was skipped there.
    times(
        "0 12 * * *",
        "Pacific/Apia",
        "2011-12-29T00:00:00Z",
        &["2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z"],
    );
}

/// [ARCP 22-1] A local time that comes twice fires the first time.
#[test]
fn the_clocks_go_back() {
    let from = "2026-10-24T12:00:00Z";
    times(
        "30 2 * * *",
        "Europe/Berlin",
        from,
        &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
    );
    times(
        "0 * * * *",
        "Europe/Berlin",
        "2026-10-24T22:30:00Z",
        &[
            "2026-10-24T23:00:00Z",
            "2026-10-25T00:00:00Z",
            "2026-10-25T02:00:00Z",
        ],
    );
    times(
        "30 1 1 11 *",
        "America/New_York",
        "2026-01-01T00:00:00Z",
        &["2026-11-01T05:30:00Z", "2027-11-01T05:30:00Z"],
    );
    let hourly = table("*/20 * * * *", "Europe/Berlin");
    // Within the hour that is shown twice the last one is of its first time.
    assert_eq!(
        hourly.last_until(at("2026-10-25T01:10:00Z")),
        Some(at("2026-10-25T00:40:00Z"))
    );
    assert_eq!(
        hourly.next_after(at("2026-10-25T01:10:00Z")),
        Some(at("2026-10-25T02:00:00Z"))
    );
}

/// [ARCP 22-1] a year of leap days: each 29th of February there is, and no other day.
#[test]
fn leap_days_come_when_they_come() {
    times(
        "0 6 29 2 *",
        "UTC",
        "2095-01-01T00:00:00Z",
        &["2096-02-29T06:00:00Z", "2104-02-29T06:00:00Z"],
    );
    let daily = table("0 0 * * *", "UTC");
    let year: Vec<_> = daily
        .times(at("2027-12-31T12:00:00Z"))
        .take_while(|time| *time < at("2029-01-01T00:00:00Z"))
        .collect();
    assert_eq!(year.len(), 366);
    assert!(year.contains(&at("2028-02-29T00:00:00Z")));
}

fn plan(cron: &str, missed: Missed) -> Plan {
    Plan {
        timetable: table(cron, "UTC"),
        missed,
    }
}

/// [ARCP 22-1] what was missed is one firing, all of them or none.
#[test]
fn missed_times_are_one_all_or_none() {
    let (done, start) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T05:30:00Z"));
    let step = |missed, done| plan("0 * * * *", missed).step(done, start, start);
    let five = at("2026-01-01T05:00:00Z");
    assert_eq!(step(Missed::One, done), Step::Fire(five));
    assert_eq!(step(Missed::None, done), Step::PassOver(five));
    assert_eq!(
        step(Missed::All, done),
        Step::Fire(at("2026-01-01T01:00:00Z"))
    );
    for missed in [Missed::One, Missed::None, Missed::All] {
        assert_eq!(step(missed, five), Step::Wait(at("2026-01-01T06:00:00Z")));
    }
    // What is due right now is not missed.
    let six = at("2026-01-01T06:00:00Z");
    for missed in [Missed::One, Missed::None, Missed::All] {
        let step = plan("0 * * * *", missed).step(five, start, six);
        assert_eq!(step, Step::Fire(six));
        let slept = plan("0 * * * *", missed).step(five, start, at("2026-01-01T06:02:00Z"));
        assert_eq!(
            slept == Step::PassOver(six),
            missed == Missed::None,
            "{slept:?}"
        );
    }
    // A runtime that comes back a moment after the time has missed it.
    let back = at("2026-01-01T06:00:01Z");
    assert_eq!(
        plan("0 * * * *", Missed::None).step(five, back, back),
        Step::PassOver(six)
    );
    assert_eq!(
        plan("0 * * * *", Missed::One).step(five, back, back),
        Step::Fire(six)
    );
}

/// [ARCP 22-1] ten thousand days with clocks that change, a runtime that is away now and then and dies at any step: every time
/// that fires fires once, in order, and is one of the timetable.
#[test]
fn ten_thousand_days_fire_each_time_once() {
    let plan = Plan {
        timetable: table("30 2 * * *", "Europe/Berlin"),
        missed: Missed::All,
    };
    let begin = at("2026-01-01T00:00:00Z");
    let end = begin.plus(Duration::from_secs(10_000 * 86_400));
    let (mut done, mut now, mut there) = (begin, begin, begin);
    let mut fired = Vec::new();
    let mut turn = 0u64;
    while now < end {
        turn += 1;
        match plan.step(done, there, now) {
            Step::Fire(time) => {
                // Every seventh commit is lost with the process: the step comes again.
                if turn.is_multiple_of(7) {
                    there = now;
                    continue;
                }
                fired.push(time);
                done = time;
            }
            // Every eleventh time it is away for more than two days.
            Step::Wait(until) if turn.is_multiple_of(11) => {
                now = until.plus(Duration::from_secs(200_000));
                there = now;
            }
            Step::Wait(until) => now = until,
            other => panic!("{other:?}"),
        }
    }
    let expected: Vec<_> = plan
        .timetable
        .times(begin)
        .take_while(|time| *time <= done)
        .collect();
    assert_eq!(fired, expected);
    // The nights on which the clocks go forward have no half past two.
    assert!((9_950..10_000).contains(&fired.len()), "{}", fired.len());
}

/// [ARCP 22-2] the key of a firing.
#[test]
fn a_firing_has_a_key() {
    let key = key("nightly", at("2026-01-31T02:30:00.000Z"));
    assert_eq!(key, "schedule:nightly@2026-01-31T02:30:00Z");
    for (name, good) in [
        ("a", true),
        ("A-1.x_y", true),
        ("", false),
        (".a", false),
        ("a b", false),
        ("ä", false),
    ] {
        assert_eq!(is_name(name), good, "{name}");
    }
    assert!(!is_name(&"x".repeat(65)));
}

#[test]
fn words_are_read_and_written() {
    for missed in [Missed::One, Missed::All, Missed::None] {
        assert_eq!(missed.to_string().parse(), Ok(missed));
    }
    for overlap in [Overlap::Skip, Overlap::Queue, Overlap::Replace] {
        assert_eq!(overlap.to_string().parse(), Ok(overlap));
    }
    let error = "both".parse::<Overlap>().unwrap_err().to_string();
    assert_eq!(error, "`both` is none of skip, queue and replace");
}

proptest! {
    /// What comes next and what came last agree, wherever one looks.
    #[test]
    fn next_and_last_agree(seconds in 0u32..2_000_000_000, cron in 0usize..6, zone in 0usize..5) {
        let crons = ["*/7 * * * *", "*/13 */5 * * * *", "30 2 * * *", "0 0 1 * MON", "59 1-3 * 3,10,11 *", "0 12 29 2 *"];
        let zones = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"];
        let table = table(crons[cron], zones[zone]);
        let now = Timestamp::from_unix_micros(i64::from(seconds) * 1_000_000);
        let next = table.next_after(now).unwrap();
        prop_assert!(next > now);
        prop_assert_eq!(table.last_until(next), Some(next));
        let last = table.last_until(now).unwrap();
        prop_assert!(last <= now);
        prop_assert_eq!(table.next_after(last), Some(next));
    }
}
