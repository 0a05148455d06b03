//! Directives: `# name=value` lines before anything else in the file.

use nom::{
    IResult, Parser,
    bytes::complete::take_while,
    character::complete::{char, satisfy},
    combinator::{recognize, rest, verify},
    sequence::{pair, preceded, terminated},
};

/// A directive that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Syntax,
    Escape,
    Check,
}

impl Name {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Escape => "escape",
            Self::Check => "check",
        }
    }
}

/// The directive that a line is, and its value. A comment with another name is a comment like any other.
pub(super) fn directive(line: &str) -> Option<(Name, &str)> {
    let (_, (name, value)) = assignment(line).ok()?;
    let name = [Name::Syntax, Name::Escape, Name::Check]
        .into_iter()
        .find(|known| name.eq_ignore_ascii_case(known.as_str()))?;
    Some((name, value))
}

/// `# name = value`, the value up to the end of the line and not empty.
fn assignment(line: &str) -> IResult<&str, (&str, &str)> {
    let blank = || take_while(char::is_whitespace);
    let letter = satisfy(|char| char.is_ascii_alphabetic());
    let name = recognize(pair(letter, take_while(|char: char| char.is_ascii_alphanumeric())));
    let value = verify(rest.map(str::trim_end), |value: &str| !value.is_empty());
    preceded(pair(char('#'), blank()), pair(name, preceded(pair(blank(), terminated(char('='), blank())), value)))
        .parse(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names_with_a_value_are_directives() {
        for (line, expected) in [
            ("# syntax=docker/dockerfile:1", Some((Name::Syntax, "docker/dockerfile:1"))),
            ("#ESCAPE = `  ", Some((Name::Escape, "`"))),
            ("#check=skip=all;error=true", Some((Name::Check, "skip=all;error=true"))),
            ("# check", None),
            ("# check=", None),
            ("# a comment = something", None),
            ("# other=1", None),
            ("FROM a", None),
        ] {
            assert_eq!(directive(line), expected, "{line:?}");
        }
    }
}
