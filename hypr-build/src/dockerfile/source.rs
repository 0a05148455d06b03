//! Places in a text: byte ranges, the values that stand there, and the lines and columns that people read.

use std::{fmt, ops::Deref, sync::Arc};

/// A range of bytes in a [`Source`], `start` included and `end` not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset past the last byte.
    pub end: usize,
}

impl Span {
    /// The range from `start` up to `end`.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

/// A value and the place it was read from.
///
/// Two of them are equal when their values are, wherever they stand.
#[derive(Clone)]
pub struct Spanned<T> {
    /// What was read.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// `value`, read at `span`.
    pub const fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    /// Replaces the value and keeps the place.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: f(self.value), span: self.span }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}

impl<T: fmt::Debug> fmt::Debug for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)?;
        write!(f, "@{}..{}", self.span.start, self.span.end)
    }
}

/// A line and a column, both counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character within the line, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The text that spans point into. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    text: Arc<str>,
    /// Offset of each line's first byte; the first is 0. Texts are bounded well below 4 GiB.
    lines: Arc<Vec<u32>>,
}

impl Source {
    /// Takes a copy of `text` and notes where its lines begin.
    pub(super) fn new(text: &str) -> Self {
        let newlines = || text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at);
        let mut lines = Vec::with_capacity(newlines().count() + 1);
        lines.push(0);
        lines.extend(newlines().map(|at| u32::try_from(at + 1).unwrap_or(u32::MAX)));
        Self { text: text.into(), lines: Arc::new(lines) }
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line (from 1) that holds the byte at `offset`; an offset past the end is on the last line.
    pub fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start as usize <= offset)
    }

    /// Line and column of the byte at `offset`.
    pub fn position(&self, offset: usize) -> Position {
        let line = self.line(offset);
        let start = self.lines[line - 1] as usize;
        let column = self.text[start..].char_indices().take_while(|(at, _)| start + at < offset).count() + 1;
        Position { line, column }
    }

    /// The text of a line (from 1) without its line ending; empty when there is no such line.
    pub fn line_text(&self, line: usize) -> &str {
        let Some(start) = line.checked_sub(1).and_then(|index| self.lines.get(index)) else { return "" };
        let end = self.lines.get(line).map_or(self.text.len(), |end| *end as usize);
        self.text[*start as usize..end].trim_end_matches(['\n', '\r'])
    }

    /// The bytes of `span`; empty when the span does not lie in this text.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("bytes", &self.text.len()).field("lines", &self.lines.len()).finish()
    }
}
