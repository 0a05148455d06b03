//! Wildcards of `COPY` sources, with the meaning of Go's `filepath.Match`.
//!
//! `*` is any sequence and `?` any character, both without `/`; `[a-z]` and `[^a-z]` are classes; `\` takes the next
//! character as it is. Names need not be UTF-8: a byte that is not counts as one character.

/// The pattern is malformed: a class without end or without content, or a `\` at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadPattern;

/// Whether a part of a path needs matching, not only looking up.
pub(super) fn has_wildcards(part: &[u8]) -> bool {
    let mut bytes = part.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// A pattern, checked and taken apart.
#[derive(Debug)]
pub(super) struct Glob(Vec<Token>);

/// A piece of a pattern.
#[derive(Debug)]
pub(super) enum Token {
    Any,
    One,
    Class { negated: bool, ranges: Vec<(u32, u32)> },
    Literal(u32),
}

impl Glob {
    pub(super) fn new(pattern: &[u8]) -> Result<Self, BadPattern> {
        let mut rest = pattern;
        let mut tokens = Vec::new();
        while let Some(character) = take(&mut rest) {
            tokens.push(match character {
                STAR => Token::Any,
                QUESTION => Token::One,
                OPEN => class(&mut rest)?,
                BACKSLASH => Token::Literal(take(&mut rest).ok_or(BadPattern)?),
                character => Token::Literal(character),
            });
        }
        Ok(Self(tokens))
    }

    /// Whether the whole of `name` matches. The time is at most the product of both lengths.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        let (mut tokens, mut rest) = (self.0.as_slice(), name);
        // Where to go on after a mismatch: behind the last star, with one character more for it.
        let mut retry: Option<(&[Token], &[u8])> = None;
        loop {
            let mut next = rest;
            let matched = match (tokens.first(), take(&mut next)) {
                (None, None) => return true,
                (Some(Token::Any), _) => {
                    tokens = &tokens[1..];
                    retry = Some((tokens, rest));
                    continue;
                }
                (Some(token), Some(character)) => token.matches(character),
                _ => false,
            };
            if matched {
                (tokens, rest) = (&tokens[1..], next);
                continue;
            }
            let Some((after, start)) = &mut retry else { return false };
            match take(start) {
                None | Some(SEPARATOR) => return false,
                Some(_) => (tokens, rest) = (after, start),
            }
        }
    }
}

impl Token {
    /// Whether one character matches.
    pub(super) fn matches(&self, character: u32) -> bool {
        match self {
            Self::Any => false,
            Self::One => character != SEPARATOR,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *negated
            }
            Self::Literal(literal) => character == *literal,
        }
    }
}

const STAR: u32 = b'*' as u32;
const QUESTION: u32 = b'?' as u32;
const OPEN: u32 = b'[' as u32;
const CLOSE: u32 = b']' as u32;
const MINUS: u32 = b'-' as u32;
const BACKSLASH: u32 = b'\\' as u32;
const SEPARATOR: u32 = b'/' as u32;

/// What follows a `[`.
pub(super) fn class(rest: &mut &[u8]) -> Result<Token, BadPattern> {
    let negated = rest.starts_with(b"^");
    if negated {
        take(rest);
    }
    let mut ranges = Vec::new();
    loop {
        if rest.starts_with(b"]") && !ranges.is_empty() {
            take(rest);
            return Ok(Token::Class { negated, ranges });
        }
        let low = bound(rest)?;
        let high = if rest.starts_with(b"-") {
            take(rest);
            bound(rest)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

/// One end of a range.
fn bound(rest: &mut &[u8]) -> Result<u32, BadPattern> {
    match take(rest) {
        None | Some(MINUS | CLOSE) => Err(BadPattern),
        Some(BACKSLASH) => take(rest).ok_or(BadPattern),
        Some(character) => Ok(character),
    }
}

/// Takes one character; a byte that is not UTF-8 comes as a number beyond all characters.
pub(super) fn take(rest: &mut &[u8]) -> Option<u32> {
    let first = *rest.first()?;
    let length = match first {
        0x00..=0x7f => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    let character = rest.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()?.chars().next());
    let (value, length) = match character {
        Some(character) => (character.into(), length),
        None => (0x11_0000 + u32::from(first), 1),
    };
    *rest = &rest[length..];
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        let rows: [(&[u8], &[u8], bool); 33] = [
            (b"abc", b"abc", true),
            (b"*", b"abc", true),
            (b"*", b"", true),
            (b"*c", b"abc", true),
            (b"a*", b"a", true),
            (b"a*", b"ab/c", false),
            (b"a*/b", b"abc/b", true),
            (b"a*/b", b"a/c/b", false),
            (b"a*b*c*d*e*/f", b"axbxcxdxe/f", true),
            (b"a*b*c*d*e*/f", b"axbxcxdxexxx/f", true),
            (b"a*b*c*d*e*/f", b"axbxcxdxe/xxx/f", false),
            (b"a*b?c*x", b"abxbbxdbxebxczzx", true),
            (b"a*b?c*x", b"abxbbxdbxebxczzy", false),
            (b"ab[c]", b"abc", true),
            (b"ab[b-d]", b"abc", true),
            (b"ab[e-g]", b"abc", false),
            (b"ab[^c]", b"abc", false),
            (b"ab[^e-g]", b"abc", true),
            (b"a\\*b", b"a*b", true),
            (b"a\\*b", b"ab", false),
            (b"a?b", "a☺b".as_bytes(), true),
            (b"a[^a]b", "a☺b".as_bytes(), true),
            (b"a???b", "a☺b".as_bytes(), false),
            (b"[a-\xce\xb6]*", "α".as_bytes(), true),
            (b"*[a-\xce\xb6]", b"A", false),
            (b"a?b", b"a/b", false),
            (b"a*b", b"a/b", false),
            (b"[\\]a]", b"]", true),
            (b"[\\-x]", b"-", true),
            (b"[x\\-]", b"z", false),
            (b"a?b", b"a\xffb", true),
            (b"a??b", b"a\xff\xfeb", true),
            (b"[[]0].txt", b"[0].txt", true),
        ];
        for (pattern, name, expected) in rows {
            let found = Glob::new(pattern).map(|glob| glob.matches(name));
            assert_eq!(found, Ok(expected), "{:?} {:?}", pattern.escape_ascii(), name.escape_ascii());
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for pattern in ["[", "[a", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "a[", "[^", "[^bc", "a\\", "["] {
            assert!(Glob::new(pattern.as_bytes()).is_err(), "{pattern:?}");
        }
    }

    #[test]
    fn matching_takes_no_exponential_time() {
        let glob = Glob::new("*a".repeat(200).as_bytes()).unwrap();
        assert!(!glob.matches(format!("{}b", "a".repeat(20_000)).as_bytes()));
    }

    #[test]
    fn wildcards_are_told_from_names() {
        for (part, expected) in [("a", false), ("a*", true), ("a\\*", false), ("a\\\\*", true), ("[", true)] {
            assert_eq!(has_wildcards(part.as_bytes()), expected, "{part:?}");
        }
    }
}
