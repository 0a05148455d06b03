//! Words as the instructions cut them: at blanks, or at blanks outside of quotes.

use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::take_while1,
    character::complete::{anychar, char, one_of},
    combinator::{opt, recognize},
    multi::{many0_count, many1_count},
    sequence::pair,
};

use super::ast::Escape;

/// The blanks that separate an instruction from its arguments, and arguments without quotes.
const BLANKS: [char; 5] = ['\t', '\x0b', '\x0c', '\r', ' '];

/// The first word of `text`.
pub(super) fn first(text: &str) -> &str {
    text.split(BLANKS).next().unwrap_or(text)
}

/// All words, whatever quotes are in them.
pub(super) fn blank_separated(text: &str) -> impl Iterator<Item = &str> {
    text.split(BLANKS).filter(|word| !word.is_empty())
}

/// The first word and all that follows the blanks behind it.
pub(super) fn key_and_rest(text: &str) -> Option<(&str, &str)> {
    text.split_once(BLANKS).map(|(key, rest)| (key, rest.trim_start_matches(BLANKS)))
}

/// The words of `text`, with the quotes and escapes that hold them together.
pub(super) fn words(text: &str, escape: Escape) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    // What is no word is an escape at the end of the line, which is dropped.
    while let Ok((next, word)) = word(rest, escape.as_char()) {
        words.push(word);
        rest = next.trim_start();
    }
    words
}

/// Escaped characters, quoted parts and others, up to a blank.
fn word(input: &str, escape: char) -> IResult<&str, &str> {
    let plain = take_while1(move |char: char| !char.is_whitespace() && char != escape && !matches!(char, '\'' | '"'));
    let piece = alt((plain, escaped(escape), quoted(escape)));
    recognize(many1_count(piece)).parse(input)
}

fn escaped<'a>(escape: char) -> impl Parser<&'a str, Output = &'a str, Error = nom::error::Error<&'a str>> {
    recognize(pair(char(escape), anychar))
}

/// `'...'` or `"..."`; only the latter knows escapes, and the end of the line ends either.
fn quoted<'a>(escape: char) -> impl FnMut(&'a str) -> IResult<&'a str, &'a str> {
    move |input| {
        let (content, quote) = one_of("'\"").parse(input)?;
        let escape = if quote == '"' { escape } else { quote };
        let plain = take_while1(move |char| char != quote && char != escape);
        let (rest, _) = if quote == '"' {
            many0_count(alt((plain, escaped(escape)))).parse(content)?
        } else {
            many0_count(plain).parse(content)?
        };
        let (rest, _) = opt(char(quote)).parse(rest)?;
        Ok((rest, &input[..input.len() - rest.len()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_quotes_and_behind_escapes_do_not_end_a_word() {
        for (text, expected) in [
            ("foo bar", &["foo", "bar"][..]),
            (" a\t b ", &["a", "b"]),
            ("foo\\ bar", &["foo\\ bar"]),
            ("a='b c' d=\"e f\"g", &["a='b c'", "d=\"e f\"g"]),
            ("a=\"b\\\" c\" d", &["a=\"b\\\" c\"", "d"]),
            ("a='b\\' c", &["a='b\\'", "c"]),
            ("a=\"b c", &["a=\"b c"]),
            ("a \\", &["a"]),
            ("a\\", &["a"]),
            ("a=\"b\\", &["a=\"b"]),
            ("\"\" x", &["\"\"", "x"]),
            ("föo \"âb ÿ\"", &["föo", "\"âb ÿ\""]),
        ] {
            assert_eq!(words(text, Escape::Backslash), expected, "{text:?}");
        }
        assert_eq!(words("a` b\\ c", Escape::Backtick), ["a` b\\", "c"]);
    }
}
