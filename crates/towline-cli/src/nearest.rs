//! The word somebody probably meant.

/// The candidate nearest to `word`, when it is near enough to be a slip of the fingers.
pub(crate) fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let word: Vec<char> = word.chars().take(64).collect();
    let limit = (word.len() / 3).max(2);
    let scored = candidates
        .iter()
        .map(|candidate| (distance(&word, candidate), *candidate));
    scored
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (one character added, removed, changed, or two neighbours swapped) from one word to the other.
fn distance(left: &[char], right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let swapped = (i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b)
                .then(|| before[j - 1] + 1);
            let changed = row[j] + usize::from(a != b);
            let cheapest = changed.min(row[j + 1] + 1).min(next[j] + 1);
            next.push(swapped.map_or(cheapest, |swapped| swapped.min(cheapest)));
        }
        before = std::mem::replace(&mut row, next);
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let keys = ["listen", "path", "allowed_hosts", "heartbeat"];
        for (word, expected) in [
            ("listen", Some("listen")),
            ("lsten", Some("listen")),
            ("litsen", Some("listen")),
            ("allowed-hosts", Some("allowed_hosts")),
            ("heart_beat", Some("heartbeat")),
            ("quux", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &keys), expected, "{word}");
        }
    }
}
