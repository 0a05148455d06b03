//! JSON arrays of strings: the exec form of commands, paths and shells.
//!
//! What begins like JSON but is not is the shell form, `[ -f x ]` for one. What is JSON but not of strings alone is an
//! error, so the whole value has to be read before either can be said. Nothing here recurses.

use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag, take_while, take_while_m_n, take_while1},
    character::complete::{anychar, char, digit0, digit1, one_of},
    combinator::{fail, map, map_opt, opt, recognize, value},
    multi::fold_many0,
    sequence::{delimited, pair, preceded},
};

/// Nesting past which the reader gives up.
pub(super) const MAX_DEPTH: usize = 10_000;

/// What a text turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Json<'a> {
    /// An array of strings: each decoded, and as written with its quotes.
    Strings(Vec<(String, &'a str)>),
    /// An array with something else in it, which is given.
    Other(&'a str),
    /// Brackets beyond [`MAX_DEPTH`].
    TooDeep,
    /// Not a JSON array.
    No,
}

/// Reads all of `text`, without blanks around it, as a JSON array.
pub(super) fn array(text: &str) -> Json<'_> {
    let mut strings = Vec::new();
    let mut other = None;
    let Ok((mut rest, _)) = token('[')(text) else { return Json::No };
    if let Ok((rest, _)) = token(']')(rest) {
        return if rest.is_empty() { Json::Strings(strings) } else { Json::No };
    }
    loop {
        match spanned_string(rest) {
            Ok((next, string)) => {
                strings.push(string);
                rest = next;
            }
            Err(_) => {
                let start = rest;
                rest = match skip_value(rest) {
                    Skipped::To(next) => next,
                    Skipped::TooDeep => return Json::TooDeep,
                    Skipped::Not => return Json::No,
                };
                other.get_or_insert(start[..start.len() - rest.len()].trim_end());
            }
        }
        if let Ok((next, _)) = token(',')(rest) {
            rest = next;
            continue;
        }
        return match (token(']')(rest), other) {
            (Ok(("", _)), None) => Json::Strings(strings),
            (Ok(("", _)), Some(other)) => Json::Other(other),
            _ => Json::No,
        };
    }
}

enum Skipped<'a> {
    To(&'a str),
    TooDeep,
    Not,
}

/// Skips one value of any kind and the blanks after it.
fn skip_value(mut rest: &str) -> Skipped<'_> {
    // The brackets that are open; `true` for objects.
    let mut open = Vec::new();
    loop {
        if open.len() > MAX_DEPTH {
            return Skipped::TooDeep;
        }
        if let Ok((next, _)) = token('[')(rest) {
            rest = next;
            match token(']')(rest) {
                Ok((next, _)) => rest = next,
                Err(_) => {
                    open.push(false);
                    continue;
                }
            }
        } else if let Ok((next, _)) = token('{')(rest) {
            rest = next;
            match (token('}')(rest), key(rest)) {
                (Ok((next, _)), _) => rest = next,
                (_, Ok((next, _))) => {
                    open.push(true);
                    rest = next;
                    continue;
                }
                _ => return Skipped::Not,
            }
        } else if let Ok((next, _)) = scalar(rest) {
            rest = next;
        } else {
            return Skipped::Not;
        }
        // A value has ended: so may any number of brackets.
        loop {
            let Some(object) = open.last().copied() else { return Skipped::To(rest) };
            if let Ok((next, _)) = token(if object { '}' } else { ']' })(rest) {
                open.pop();
                rest = next;
                continue;
            }
            let Ok((next, _)) = token(',')(rest) else { return Skipped::Not };
            rest = next;
            if object {
                let Ok((next, _)) = key(rest) else { return Skipped::Not };
                rest = next;
            }
            break;
        }
    }
}

fn blank(input: &str) -> IResult<&str, &str> {
    take_while(|char| matches!(char, ' ' | '\t' | '\r' | '\n')).parse(input)
}

/// One character and the blanks after it.
fn token<'a>(expected: char) -> impl Fn(&'a str) -> IResult<&'a str, char> {
    move |input| {
        let (rest, found) = char(expected).parse(input)?;
        blank(rest).map(|(rest, _)| (rest, found))
    }
}

fn key(input: &str) -> IResult<&str, ()> {
    value((), (string, blank, token(':'))).parse(input)
}

fn scalar(input: &str) -> IResult<&str, ()> {
    let literal = alt((tag("true"), tag("false"), tag("null")));
    value((), pair(alt((literal, number, recognize(string))), blank)).parse(input)
}

/// `-0.5e+3`; no zeros in front.
fn number(input: &str) -> IResult<&str, &str> {
    let integer = alt((tag("0"), recognize(pair(one_of("123456789"), digit0))));
    let fraction = pair(char('.'), digit1);
    let exponent = (one_of("eE"), opt(one_of("+-")), digit1);
    recognize((opt(char('-')), integer, opt(fraction), opt(exponent))).parse(input)
}

/// A string, decoded, and as written; the blanks after it are skipped.
fn spanned_string(input: &str) -> IResult<&str, (String, &str)> {
    let (rest, text) = string(input)?;
    let written = &input[..input.len() - rest.len()];
    blank(rest).map(|(rest, _)| (rest, (text, written)))
}

/// `"..."`, without raw control characters.
fn string(input: &str) -> IResult<&str, String> {
    let plain = take_while1(|char: char| !matches!(char, '"' | '\\' | '\0'..='\x1f'));
    let fragment = alt((map(plain, Fragment::Plain), map(preceded(char('\\'), escaped), Fragment::Char)));
    let content = fold_many0(fragment, String::new, |mut text, fragment| {
        match fragment {
            Fragment::Plain(plain) => text.push_str(plain),
            Fragment::Char(char) => text.push(char),
        }
        text
    });
    delimited(char('"'), content, char('"')).parse(input)
}

enum Fragment<'a> {
    Plain(&'a str),
    Char(char),
}

fn escaped(input: &str) -> IResult<&str, char> {
    let (rest, kind) = anychar(input)?;
    let char = match kind {
        '"' | '\\' | '/' => kind,
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return unicode(rest),
        _ => return fail().parse(input),
    };
    Ok((rest, char))
}

/// `XXXX`, or `XXXX\uXXXX` for a pair of surrogates; half a pair is the replacement character.
fn unicode(input: &str) -> IResult<&str, char> {
    let (rest, high) = hex4(input)?;
    if let Some(char) = char::from_u32(high) {
        return Ok((rest, char));
    }
    if let Ok((rest, low)) = preceded(tag("\\u"), hex4).parse(rest)
        && let Some(Ok(char)) = char::decode_utf16([high, low].map(low16)).next()
    {
        return Ok((rest, char));
    }
    Ok((rest, char::REPLACEMENT_CHARACTER))
}

fn hex4(input: &str) -> IResult<&str, u32> {
    map_opt(take_while_m_n(4, 4, |char: char| char.is_ascii_hexdigit()), |digits| u32::from_str_radix(digits, 16).ok())
        .parse(input)
}

/// Four hexadecimal digits always fit.
fn low16(value: u32) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(values: &[&str]) -> Option<Vec<String>> {
        Some(values.iter().map(|value| (*value).to_owned()).collect())
    }

    #[test]
    fn arrays_of_strings_are_decoded_and_all_else_is_told_apart() {
        for (text, expected) in [
            (r#"["a","b c"]"#, strings(&["a", "b c"])),
            ("[]", strings(&[])),
            ("[ \t\"a\" , \"\" ]", strings(&["a", ""])),
            (r#"["\n\"\\\/\u00e9\ud83d\ude00\ud83d"]"#, strings(&["\n\"\\/é😀\u{fffd}"])),
            (r#"["\ud83dx"]"#, strings(&["\u{fffd}x"])),
            (r#"["a",]"#, None),
            (r#"["a"] x"#, None),
            (r#"["a" "b"]"#, None),
            ("['a']", None),
            ("[ -f x ]", None),
            (r#"["\x"]"#, None),
            ("[\"a\u{1}\"]", None),
            ("[", None),
            (r#"["a""#, None),
            (r#"["\"#, None),
            (r#"[1, {"a": [}]"#, None),
        ] {
            let found = match array(text) {
                Json::Strings(strings) => Some(strings.into_iter().map(|(text, _)| text).collect()),
                Json::No => None,
                other => panic!("{text}: {other:?}"),
            };
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn values_that_are_not_strings_are_named() {
        for (text, other) in [
            (r#"["a", 1]"#, "1"),
            (r#"[["a"], 2]"#, r#"["a"]"#),
            (r#"[{"a": [1, {"b": null}], "c": -0.5e+3}, "d"]"#, r#"{"a": [1, {"b": null}], "c": -0.5e+3}"#),
            ("[null]", "null"),
        ] {
            assert_eq!(array(text), Json::Other(other), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        let text = format!("{}{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        assert_eq!(array(&text), Json::TooDeep);
    }
}
