//! Heredoc markers: `<<EOF`, `<<-EOF`, `3<<"EOF"`.

use nom::{
    IResult, Parser,
    bytes::complete::{tag, take_while},
    character::complete::{char, digit0},
    combinator::{all_consuming, opt},
};

use super::words::{self, WordError};

/// The start of a heredoc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marker {
    /// The word that ends it, quotes removed.
    pub(super) name: String,
    /// No part of the word was quoted.
    pub(super) expand: bool,
    /// It began with `<<-`.
    pub(super) strip_tabs: bool,
    /// The file descriptor, 0 unless written.
    pub(super) descriptor: u32,
}

/// The markers of a line, in order. A line whose quotes do not end has none.
pub(super) fn markers(line: &str) -> Result<Vec<Marker>, (String, WordError)> {
    let mut found = Vec::new();
    for word in words::split_raw(line).unwrap_or_default() {
        match marker(&word) {
            Ok(marker) => found.extend(marker),
            Err(error) => return Err((word, error)),
        }
    }
    Ok(found)
}

/// The marker that a word is.
pub(super) fn marker(word: &str) -> Result<Option<Marker>, WordError> {
    let Ok((_, (descriptor, strip_tabs, name))) = grammar(word) else { return Ok(None) };
    let (plain, quoted) = words::split_marker(name)?;
    let ([plain], [quoted]) = (&*plain, &*quoted) else { return Ok(None) };
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Ok(Some(Marker {
        name: plain.clone(),
        // Quotes that are gone after processing were quotes; those that remain were escaped.
        expand: quotes(plain) == quotes(quoted),
        strip_tabs,
        descriptor: descriptor.parse().unwrap_or(0),
    }))
}

/// Whether the whole of `line` is a heredoc marker.
pub(super) fn is_marker(line: &str) -> bool {
    matches!(marker(line), Ok(Some(_)))
}

/// Whether `word` is a marker whose name is the next word.
pub(super) fn is_bare(word: &str) -> bool {
    matches!(grammar(word), Ok((_, (_, false, ""))))
}

/// `[n]<<[-]word`, blanks allowed before the word.
fn grammar(word: &str) -> IResult<&str, (&str, bool, &str)> {
    let blank = take_while(char::is_whitespace);
    let name = take_while(|char| char != '<');
    all_consuming((digit0, tag("<<"), opt(char('-')), blank, name))
        .map(|(descriptor, _, dash, _, name)| (descriptor, dash.is_some(), name))
        .parse(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_one_word_after_two_angles() {
        for (word, expected) in [
            ("<<EOF", Some(("EOF", true))),
            ("<<-EOF", Some(("EOF", true))),
            ("<<'EOF'", Some(("EOF", false))),
            ("<<EO\"F\"", Some(("EOF", false))),
            ("<<eo\\'f", Some(("eo'f", true))),
            ("<<'one two'", Some(("one two", false))),
            ("<< EOF", Some(("EOF", true))),
            ("<<$EOF", Some(("$EOF", true))),
            ("3<<file.txt", Some(("file.txt", true))),
            ("<<", None),
            ("<<-", None),
            ("<<<EOF", None),
            ("<EOF", None),
            ("a<<EOF", None),
            ("<<EOF sh", None),
        ] {
            let found = marker(word).unwrap().map(|marker| (marker.name, marker.expand));
            assert_eq!(found, expected.map(|(name, expand)| (name.to_owned(), expand)), "{word}");
        }
        for word in ["<<'EOF", "<<EOF\""] {
            assert!(marker(word).is_err(), "{word}");
        }
    }

    #[test]
    fn markers_are_found_outside_of_quotes_only() {
        for (line, expected) in [
            ("RUN <<A <<-B cat", &["A", "B"][..]),
            ("RUN \"<<A\" '<<B'", &[]),
            ("RUN <<  A  > foo", &["A"]),
            ("RUN echo $((1<<2))", &[]),
            ("RUN echo \"unbalanced <<A", &[]),
            ("COPY a<b <<C /d", &["C"]),
        ] {
            let names: Vec<_> = markers(line).unwrap().into_iter().map(|marker| marker.name).collect();
            assert_eq!(names, expected, "{line}");
        }
    }
}
