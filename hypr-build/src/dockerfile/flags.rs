//! Flags: the words with two dashes between an instruction's name and its arguments.

use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag, take_while1},
    character::complete::{anychar, char, one_of},
    combinator::{eof, map, opt, peek, value},
    multi::fold_many0,
    sequence::preceded,
};

/// A flag in a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flag<'a> {
    /// As it stands.
    pub(super) written: &'a str,
    /// `--name=value` without quotes and escapes.
    pub(super) text: String,
}

/// Takes the flags from the front of `line`; the rest begins at the first other word, or behind `--`.
pub(super) fn flags(line: &str) -> (Vec<Flag<'_>>, &str) {
    let mut flags = Vec::new();
    let mut rest = line.trim_start();
    while let Ok((next, text)) = flag(rest) {
        let written = &rest[..rest.len() - next.len()];
        rest = next.trim_start();
        if text == "--" {
            break;
        }
        flags.push(Flag { written, text });
    }
    (flags, rest)
}

/// `--...` up to a blank; quotes and backslashes protect blanks, whatever the escape character of the file.
fn flag(input: &str) -> IResult<&str, String> {
    let plain = take_while1(|char: char| !char.is_whitespace() && !matches!(char, '\'' | '"' | '\\'));
    let piece = alt((map(plain, str::to_owned), map(escaped, String::from_iter), quoted));
    preceded(peek(tag("--")), fold_many0(piece, String::new, |text, piece| text + &piece)).parse(input)
}

/// `\` and the character it protects; nothing at the end of the line.
fn escaped(input: &str) -> IResult<&str, Option<char>> {
    preceded(char('\\'), alt((value(None, eof), map(anychar, Some)))).parse(input)
}

/// `'...'` or `"..."`; the end of the line ends it too.
fn quoted(input: &str) -> IResult<&str, String> {
    let (input, quote) = one_of("'\"").parse(input)?;
    let plain = take_while1(move |char| char != quote && char != '\\');
    let piece = alt((map(plain, str::to_owned), map(escaped, String::from_iter)));
    let (input, text) = fold_many0(piece, String::new, |text, piece| text + &piece).parse(input)?;
    let (input, _) = opt(char(quote)).parse(input)?;
    Ok((input, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_end_at_the_first_other_word() {
        for (line, expected, rest) in [
            ("--from=a --link b --c", &["--from=a", "--link"][..], "b --c"),
            ("--chown=1:2 -- --x y", &["--chown=1:2"], "--x y"),
            ("  a --b", &[], "a --b"),
            ("--a='x y'\" z\"\\ w b", &["--a=x y z w"], "b"),
            ("--a=\"x\\\"y", &["--a=x\"y"], ""),
            ("--a=x\\", &["--a=x"], ""),
            ("-a b", &[], "-a b"),
            ("--é=ü x", &["--é=ü"], "x"),
        ] {
            let (flags, found) = flags(line);
            let texts: Vec<_> = flags.iter().map(|flag| flag.text.as_str()).collect();
            assert_eq!((&*texts, found), (expected, rest), "{line}");
        }
        assert_eq!(flags("--a='x y' z").0[0].written, "--a='x y'");
    }
}
