//! "Did you mean": the nearest of a few known names.

/// The candidate that `name` was probably meant to be, if one is near enough. Case does not count.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    // Half of the characters may be wrong, and at most three: beyond that it is another word.
    let limit = (name.chars().count() / 2).min(3);
    candidates
        .into_iter()
        // A name much longer than any candidate is not worth the comparison.
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= limit)
        .map(|candidate| (distance(&name, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, substitutions and swaps of neighbours that turn one word into the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (row, left) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, right) in to.iter().enumerate() {
            let mut best = (above[column] + usize::from(left != right)).min(above[column + 1] + 1);
            best = best.min(current[column] + 1);
            if row > 0 && column > 0 && *left == to[column - 1] && from[row - 1] == *right {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_name_and_another_word_finds_none() {
        let names = ["COPY", "RUN", "CMD", "ENTRYPOINT", "FROM"];
        for (name, expected) in [
            ("COPPY", Some("COPY")),
            ("form", Some("FROM")),
            ("RNU", Some("RUN")),
            ("ENTRYPIONT", Some("ENTRYPOINT")),
            ("INCLUDE", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, names), expected, "{name:?}");
        }
    }
}
