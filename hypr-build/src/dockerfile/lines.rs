//! Lines as the file has them, and the longer ones that instructions are made of.

use super::source::{Source, Span};

/// A line of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Physical<'a> {
    /// The line without its ending.
    pub(super) text: &'a str,
    /// Offset of the first byte.
    pub(super) start: usize,
    /// Its number, from 1.
    pub(super) number: usize,
    /// Offset past the line's ending.
    pub(super) next: usize,
}

/// Hands out the lines of a text one after the other.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    text: &'a str,
    at: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self { text: source.text(), at: 0, number: 0 }
    }

    /// The number of the line that was handed out last.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// The offset at which the next line begins.
    pub(super) fn offset(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Physical<'a>;

    fn next(&mut self) -> Option<Physical<'a>> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.find('\n').map_or(rest.len(), |end| end + 1);
        let start = self.at;
        self.at += length;
        self.number += 1;
        let text = rest[..length].trim_end_matches(['\r', '\n']);
        Some(Physical { text, start, number: self.number, next: self.at })
    }
}

/// What stands before an escape character at the end of a line, which so continues. Blanks may follow it; a second one
/// before it takes its meaning.
pub(super) fn continued(text: &str, escape: char) -> Option<&str> {
    let body = text.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!body.ends_with(escape)).then_some(body)
}

/// Several lines joined into one, which remembers where its bytes came from.
#[derive(Debug, Default)]
pub(super) struct Logical {
    /// The joined text.
    text: String,
    /// Where a piece begins in `text`, and where it stood in the file.
    pieces: Vec<(usize, usize)>,
}

impl Logical {
    /// Adds `piece`, which stands at `offset` in the file.
    pub(super) fn push(&mut self, piece: &str, offset: usize) {
        self.pieces.push((self.text.len(), offset));
        self.text.push_str(piece);
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The place of `part`, which is a slice of [`text`](Self::text).
    pub(super) fn span(&self, part: &str) -> Span {
        let base = self.text.as_ptr().addr();
        let start = part.as_ptr().addr().saturating_sub(base).min(self.text.len());
        let end = (start + part.len()).min(self.text.len());
        if start == end {
            let at = self.locate(start);
            return Span::new(at, at);
        }
        Span::new(self.locate(start), self.locate(end - 1) + 1)
    }

    fn locate(&self, offset: usize) -> usize {
        let index = self.pieces.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        self.pieces.get(index).map_or(0, |(start, place)| place + (offset - start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_continues_unless_it_is_escaped() {
        for (text, expected) in [
            ("a \\", Some("a ")),
            ("a \\ \t", Some("a ")),
            ("\\", Some("")),
            ("a \\\\", None),
            ("a \\ b", None),
            ("a `", None),
            ("", None),
        ] {
            assert_eq!(continued(text, '\\'), expected, "{text:?}");
        }
        assert_eq!(continued("a `", '`'), Some("a "));
    }

    #[test]
    fn joined_text_knows_where_it_came_from() {
        let mut line = Logical::default();
        line.push("RUN a", 10);
        line.push("", 17);
        line.push("  b c", 20);
        let text = line.text();
        assert_eq!(line.span(&text[4..5]), Span::new(14, 15));
        assert_eq!(line.span(&text[4..8]), Span::new(14, 23));
        assert_eq!(line.span(&text[10..]), Span::new(25, 25));
    }

    #[test]
    fn endings_are_cut_off_and_the_last_line_needs_none() {
        let source = Source::new("a\r\n\nb");
        let lines: Vec<_> = Lines::new(&source).map(|line| (line.text, line.start, line.number, line.next)).collect();
        assert_eq!(lines, [("a", 0, 1, 3), ("", 3, 2, 4), ("b", 4, 3, 5)]);
    }
}
