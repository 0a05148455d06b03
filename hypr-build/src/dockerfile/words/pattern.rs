//! The patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: literal characters, `?` and `*`.
//!
//! Brackets mean nothing in them. A backslash escapes `*`, `?` and itself, and may stand before `}` and `/`, which end
//! the parts of a substitution.

use super::WordErrorKind;

/// Steps that one substitution may take: characters of the value times characters of the pattern.
const MAX_STEPS: usize = 1 << 26;

/// Whether `*` takes as little or as much as it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Shortest,
    Longest,
}

/// A character of the pattern, `None` for `?`.
type Token = Option<char>;

/// A pattern, cut at its stars. There is always one piece more than stars.
#[derive(Debug)]
pub(super) struct Pattern {
    pieces: Vec<Vec<Token>>,
}

impl Pattern {
    /// Reads a pattern that is to be matched against `value`.
    pub(super) fn new(pattern: &str, value: &str) -> Result<Self, WordErrorKind> {
        if pattern.len().checked_mul(value.len()).is_none_or(|steps| steps > MAX_STEPS) {
            return Err(WordErrorKind::PatternTooLong);
        }
        let (mut pieces, mut piece) = (Vec::new(), Vec::new());
        let mut chars = pattern.chars();
        while let Some(char) = chars.next() {
            match char {
                '*' => pieces.push(std::mem::take(&mut piece)),
                '?' => piece.push(None),
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => piece.push(Some(escaped)),
                    Some(other) => return Err(WordErrorKind::Pattern(other)),
                    None => return Err(WordErrorKind::PatternEnd),
                },
                char => piece.push(Some(char)),
            }
        }
        pieces.push(piece);
        Ok(Self { pieces })
    }

    /// `value` without the part at its start that matches.
    pub(super) fn without_prefix<'a>(&self, value: &'a str, extent: Extent) -> &'a str {
        let chars: Vec<char> = value.chars().collect();
        let length = self.end(&chars, 0, extent).ok().unwrap_or(0);
        &value[bytes(&chars[..length])..]
    }

    /// `value` without the part at its end that matches.
    pub(super) fn without_suffix<'a>(&self, value: &'a str, extent: Extent) -> &'a str {
        let chars: Vec<char> = value.chars().rev().collect();
        let reversed = Self { pieces: self.pieces.iter().rev().map(|piece| reverse(piece)).collect() };
        let length = reversed.end(&chars, 0, extent).ok().unwrap_or(0);
        &value[..value.len() - bytes(&chars[..length])]
    }

    /// `value` with the first or with all matches replaced; the leftmost counts, and the longest there. `None` when
    /// the result passes `limit` bytes.
    pub(super) fn replace(&self, value: &str, replacement: &str, all: bool, limit: usize) -> Option<String> {
        let chars: Vec<char> = value.chars().collect();
        let mut out = String::new();
        let (mut at, mut copied) = (0, 0);
        // An empty match right behind another match is none.
        let mut last_end = None;
        while at <= chars.len() {
            match self.end(&chars, at, Extent::Longest) {
                Ok(end) if end > at || last_end != Some(at) => {
                    out.extend(&chars[copied..at]);
                    out.push_str(replacement);
                    if out.len() > limit {
                        return None;
                    }
                    (copied, last_end) = (end, Some(end));
                    if !all {
                        break;
                    }
                    at = end.max(at + 1);
                }
                Ok(_) | Err(Miss::Here) => at += 1,
                // What is missing behind a star is missing for later starts too.
                Err(Miss::Everywhere) => break,
            }
        }
        out.extend(&chars[copied..]);
        (out.len() <= limit).then_some(out)
    }

    /// The end of the match that begins at `start`.
    fn end(&self, value: &[char], start: usize, extent: Extent) -> Result<usize, Miss> {
        let (first, rest) = self.pieces.split_first().ok_or(Miss::Everywhere)?;
        if !matches(first, &value[start..]) {
            return Err(Miss::Here);
        }
        let mut at = start + first.len();
        let Some((last, middle)) = rest.split_last() else { return Ok(at) };
        for piece in middle {
            at = find(piece, value, at).ok_or(Miss::Everywhere)? + piece.len();
        }
        let found = match extent {
            Extent::Shortest => find(last, value, at),
            Extent::Longest => (at..=value.len()).rev().find(|at| matches(last, &value[*at..])),
        };
        found.map(|at| at + last.len()).ok_or(Miss::Everywhere)
    }
}

/// Why there is no match at a place.
enum Miss {
    /// The pattern's first characters are others.
    Here,
    /// Neither here nor further on.
    Everywhere,
}

fn find(piece: &[Token], value: &[char], from: usize) -> Option<usize> {
    (from..=value.len()).find(|at| matches(piece, &value[*at..]))
}

fn matches(piece: &[Token], value: &[char]) -> bool {
    piece.len() <= value.len() && piece.iter().zip(value).all(|(token, char)| token.is_none_or(|token| token == *char))
}

fn reverse(piece: &[Token]) -> Vec<Token> {
    piece.iter().rev().copied().collect()
}

fn bytes(chars: &[char]) -> usize {
    chars.iter().map(|char| char.len_utf8()).sum()
}
