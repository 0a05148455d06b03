//! From text to instructions: directives, comments, continued lines and heredocs.

use super::{
    ast::{Directives, Escape, Heredoc},
    directive::{self, Name},
    error::{ErrorKind, Errors, ParseError},
    heredoc::{self, Marker},
    keyword::Keyword,
    lines::{self, Lines, Logical, Physical},
    source::{Source, Span, Spanned},
    syntax::{Node, Place},
};

/// The largest Dockerfile that is parsed, in bytes.
pub const MAX_FILE: usize = 64 << 20;
/// Bytes of a line, continuations included.
pub(super) const MAX_LINE: usize = 1 << 20;
/// Bytes of one heredoc.
pub(super) const MAX_HEREDOC: usize = 16 << 20;
/// Instructions of a Dockerfile.
pub(super) const MAX_INSTRUCTIONS: usize = 1 << 16;

/// Comment lines that are kept with an instruction.
const MAX_COMMENTS: usize = 1000;

/// What a text consists of.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) directives: Directives,
    pub(super) nodes: Vec<Node>,
    pub(super) empty_continuations: Vec<Span>,
    pub(super) errors: Errors,
}

/// Reads all of `source`. Errors do not stop it, limits do.
pub(super) fn scan(source: &Source) -> Scan {
    let (lines, scan) = (Lines::new(source), Scan::default());
    let mut scanner = Scanner { source, lines, scan, directives_done: false, escape_seen: false, instructions: 0 };
    if let Err(error) = scanner.run() {
        scanner.scan.errors.push(error);
    }
    scanner.scan
}

struct Scanner<'a> {
    source: &'a Source,
    lines: Lines<'a>,
    scan: Scan,
    directives_done: bool,
    escape_seen: bool,
    /// Instructions so far, good and bad.
    instructions: usize,
}

impl<'a> Scanner<'a> {
    fn run(&mut self) -> Result<(), ParseError> {
        let text = self.source.text();
        if let Some(at) = text.find('\0') {
            return Err(ParseError::new(self.source, Span::new(at, at + 1), ErrorKind::Nul));
        }
        let mut comments = Vec::new();
        while let Some(line) = self.lines.next() {
            let content = line.text.trim_start();
            if let Some(comment) = content.strip_prefix('#') {
                if !self.directive(&line, content) {
                    match comment.trim() {
                        "" => comments.clear(),
                        // What describes an instruction stands right above it.
                        comment if comments.len() < MAX_COMMENTS => comments.push(comment.to_owned()),
                        _ => {}
                    }
                }
                continue;
            }
            self.directives_done = true;
            if !content.is_empty() {
                let joined = self.join(&line, content)?;
                self.instruction(&line, &joined, &mut comments)?;
            }
        }
        Ok(())
    }

    /// Takes a comment as a directive if it is one that counts.
    fn directive(&mut self, line: &Physical<'_>, content: &str) -> bool {
        // A line for the kernel says nothing about the file, and hides no directive.
        if self.directives_done || line.start == 0 && content.starts_with("#!") {
            return false;
        }
        let Some((name, value)) = directive::directive(content) else {
            self.directives_done = true;
            return false;
        };
        let start = line.start + line.text.trim_end().len() - value.len();
        let value = Spanned::new(value.to_owned(), Span::new(start, start + value.len()));
        let (source, directives) = (self.source, &mut self.scan.directives);
        let seen = match name {
            Name::Syntax => directives.syntax.replace(value.clone()).is_some(),
            Name::Check => directives.check.replace(value.clone()).is_some(),
            Name::Escape => {
                match value.as_str() {
                    "\\" => directives.escape = Escape::Backslash,
                    "`" => directives.escape = Escape::Backtick,
                    other => {
                        let kind = ErrorKind::InvalidEscape(super::syntax::abbreviated(other));
                        self.scan.errors.push(ParseError::new(source, value.span, kind));
                    }
                }
                std::mem::replace(&mut self.escape_seen, true)
            }
        };
        if seen {
            let kind = ErrorKind::DuplicateDirective(name.as_str());
            let span = Span::new(line.start, line.start + line.text.len());
            self.scan.errors.push(ParseError::new(source, span, kind));
        }
        true
    }

    /// Joins a line with those that continue it, leaving out comments and blank lines.
    fn join(&mut self, first: &Physical<'a>, content: &'a str) -> Result<Logical, ParseError> {
        let escape = self.scan.directives.escape.as_char();
        let mut joined = Logical::default();
        let (mut piece, mut offset) = (content, first.start + first.text.len() - content.len());
        let mut reported_blank = false;
        loop {
            let (text, open) = lines::continued(piece, escape).map_or((piece, false), |body| (body, true));
            joined.push(text, offset);
            if joined.text().len() > MAX_LINE {
                let span = Span::new(first.start, first.start + first.text.len().min(1));
                return Err(self.too_large(span, "a line", format!("{} KiB", MAX_LINE >> 10)));
            }
            if !open {
                return Ok(joined);
            }
            loop {
                let Some(line) = self.lines.next() else { return Ok(joined) };
                match line.text.trim_start().chars().next() {
                    Some('#') => {}
                    Some(_) => {
                        (piece, offset) = (line.text, line.start);
                        break;
                    }
                    None if !reported_blank => {
                        reported_blank = true;
                        self.scan.empty_continuations.push(Span::new(line.start, line.next));
                    }
                    None => {}
                }
            }
        }
    }

    fn instruction(
        &mut self,
        first: &Physical<'a>,
        joined: &Logical,
        comments: &mut Vec<String>,
    ) -> Result<(), ParseError> {
        let text = joined.text().trim();
        if text.is_empty() {
            return Ok(());
        }
        self.instructions += 1;
        if self.instructions > MAX_INSTRUCTIONS {
            let what = "the number of instructions";
            return Err(self.too_large(joined.span(text), what, MAX_INSTRUCTIONS.to_string()));
        }
        let place = Place { line: joined, source: self.source, escape: self.scan.directives.escape };
        let node = Node::new(text, &place);
        // The heredocs of a misspelt instruction are no instructions either.
        let takes_heredocs = match &node {
            Ok(node) => !node.innermost().json && node.innermost().keyword.takes_heredocs(),
            Err(_) => Keyword::nearest(super::split::first(text)).is_some_and(Keyword::takes_heredocs),
        };
        let heredocs = if takes_heredocs && text.contains("<<") { self.heredocs(joined, text)? } else { Vec::new() };
        match node {
            Ok(mut node) => {
                node.heredocs = heredocs;
                node.comments = std::mem::take(comments);
                node.line = first.number;
                node.end_line = self.lines.number();
                let end = self.lines.offset();
                node.span.end = node.span.start.max(self.source.text()[..end].trim_end_matches(['\r', '\n']).len());
                self.scan.nodes.push(node);
            }
            Err(error) => {
                comments.clear();
                self.scan.errors.push(error);
            }
        }
        Ok(())
    }

    /// Reads the bodies of the heredocs that a line announces.
    fn heredocs(&mut self, joined: &Logical, text: &str) -> Result<Vec<Heredoc>, ParseError> {
        let markers = match heredoc::markers(text) {
            Ok(markers) => markers,
            Err((word, _)) => {
                let span = joined.span(text.find(&*word).map_or(text, |at| &text[at..at + word.len()]));
                let kind = ErrorKind::InvalidHeredoc(super::syntax::abbreviated(&word));
                self.scan.errors.push(ParseError::new(self.source, span, kind));
                return Ok(Vec::new());
            }
        };
        let mut heredocs = Vec::with_capacity(markers.len());
        for (index, marker) in markers.into_iter().enumerate() {
            let place = text.match_indices("<<").nth(index).map_or(text, |(at, _)| super::split::first(&text[at..]));
            heredocs.extend(self.body(marker, joined.span(place))?);
        }
        Ok(heredocs)
    }

    /// Reads lines up to the one that ends a heredoc; `place` is where the heredoc was announced.
    fn body(&mut self, marker: Marker, place: Span) -> Result<Option<Heredoc>, ParseError> {
        let start = self.lines.offset();
        while let Some(line) = self.lines.next() {
            let word = if marker.strip_tabs { line.text.trim_start_matches('\t') } else { line.text };
            if word == marker.name {
                let Marker { name, expand, strip_tabs, descriptor } = marker;
                let span = Span::new(start, line.start);
                let text = self.source.slice(span).to_owned();
                return Ok(Some(Heredoc { name, text, expand, strip_tabs, descriptor, span }));
            }
            if line.next - start > MAX_HEREDOC {
                return Err(self.too_large(place, "a heredoc", format!("{} MiB", MAX_HEREDOC >> 20)));
            }
        }
        let hint = format!("end it with a line that holds `{}` and nothing else", marker.name);
        let kind = ErrorKind::UnterminatedHeredoc(marker.name);
        self.scan.errors.push(ParseError::new(self.source, place, kind).with_hint(Some(hint)));
        Ok(None)
    }

    fn too_large(&self, span: Span, what: &'static str, limit: String) -> ParseError {
        ParseError::new(self.source, span, ErrorKind::TooLarge { what, limit })
    }
}
