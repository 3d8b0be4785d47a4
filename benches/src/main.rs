//! `pieces NAME COUNT`: runs one piece so many times, for a profiler. Without arguments: their names.

fn main() {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        let names: Vec<_> = towline_benches::pieces()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        return write(&names.join("\n"));
    };
    let count: u64 = arguments
        .next()
        .and_then(|count| count.parse().ok())
        .unwrap_or(0);
    let found = towline_benches::pieces()
        .into_iter()
        .find(|(known, _)| *known == name);
    let Some((_, make)) = found else {
        return write(&format!("there is no piece `{name}`"));
    };
    let mut piece = make();
    for _ in 0..count {
        piece();
    }
}

fn write(text: &str) {
    use std::io::Write as _;
    // Nobody is left to tell when the output is gone.
    let _ = writeln!(std::io::stdout(), "{text}");
}
