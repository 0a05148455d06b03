//! `.dockerignore`: which files a build does not see, with the meaning that Docker gives the patterns.
//!
//! A pattern matches a path from the root of the tree, and with a path all that is below it. `**` is any number of
//! folders, the other wildcards are those of [`glob`](super::glob). Patterns that begin with `!` take paths out again;
//! they are gone through in order, and the last one that matches decides. `--exclude` of `COPY` and `ADD` has the same
//! patterns.

use super::{
    glob::{Glob, Token, class, take},
    walk::Filter,
};

/// The patterns of a `.dockerignore` or of `--exclude`.
///
/// ```
/// let ignore = hypr_build::Ignore::parse(b"*.log\n!keep.log\n")?;
/// assert!(ignore.excludes(b"a.log"));
/// assert!(!ignore.excludes(b"keep.log"));
/// # Ok::<(), hypr_build::BadPattern>(())
/// ```
#[derive(Debug, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

/// The longest pattern, in bytes: no path is longer.
const LONGEST: usize = 4096;

/// How many patterns there may be: each is held against each path.
const MOST: usize = 10_000;

/// A line that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {pattern:?} {reason}")]
pub struct BadPattern {
    /// The line, from 1; the how-manieth pattern where there are no lines.
    pub line: usize,
    /// What is written there, or its beginning.
    pub pattern: String,
    /// What is wrong with it: `is not a pattern`, or which limit it passes.
    pub reason: &'static str,
}

impl Ignore {
    /// Reads a `.dockerignore`: one pattern a line; lines that begin with `#`, and blank ones, mean nothing.
    ///
    /// # Errors
    /// Fails on a line that is no pattern, on one longer than a path can be, and when there are more than 10,000.
    pub fn parse(text: &[u8]) -> Result<Self, BadPattern> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let lines = text.split(|byte| *byte == b'\n').enumerate();
        let lines = lines.filter(|(_, line)| !line.starts_with(b"#"));
        Self::from_lines(lines.map(|(index, line)| (index + 1, line)))
    }

    /// Takes patterns as they are, as those of several `--exclude`.
    pub(crate) fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, BadPattern> {
        let patterns = patterns.into_iter().enumerate();
        Self::from_lines(patterns.map(|(index, pattern)| (index + 1, pattern.as_bytes())))
    }

    fn from_lines<'a>(lines: impl Iterator<Item = (usize, &'a [u8])>) -> Result<Self, BadPattern> {
        let mut patterns = Vec::new();
        for (number, line) in lines {
            let line = trim(line);
            if line.is_empty() {
                continue;
            }
            let bad = |reason| {
                let shown = &line[..line.len().min(100)];
                BadPattern { line: number, pattern: String::from_utf8_lossy(shown).into_owned(), reason }
            };
            if line.len() > LONGEST {
                return Err(bad("is longer than the limit of 4096 bytes"));
            }
            if patterns.len() == MOST {
                return Err(bad("is one pattern more than the limit of 10000"));
            }
            patterns.push(Pattern::new(line).ok_or_else(|| bad("is not a pattern"))?);
        }
        Ok(Self { patterns })
    }

    /// Whether there are patterns that take paths out again.
    pub(crate) fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.negated)
    }

    /// Whether nothing is excluded.
    pub(crate) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

impl Ignore {
    /// Whether the file or directory at `path`, or a directory above it, is left out. The path is relative to the
    /// context, without `.` and `..` and without a slash at either end.
    pub fn excludes(&self, path: &[u8]) -> bool {
        // For each pattern, whether it matched one of the folders the path is in.
        let mut matched = vec![false; self.patterns.len()];
        let mut excluded = false;
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]).filter(|end| *end > 0) {
            excluded = false;
            for (pattern, matched) in self.patterns.iter().zip(&mut matched) {
                // A pattern that could not change anything is not asked, and so does not count further below either.
                *matched = *matched || (pattern.negated == excluded && pattern.matches(&path[..end]));
                if *matched {
                    excluded = !pattern.negated;
                }
            }
        }
        excluded
    }
}

impl Filter for Ignore {
    fn excludes(&self, path: &[u8]) -> bool {
        self.excludes(path)
    }

    fn reaches_into(&self, directory: &[u8]) -> bool {
        self.patterns.iter().filter(|pattern| pattern.negated).any(|pattern| pattern.may_match_below(directory))
    }
}

/// One line.
#[derive(Debug)]
struct Pattern {
    negated: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// No wildcards: this path.
    Path(Vec<u8>),
    /// `**` and no other wildcard: paths that end like this, whatever stands before it.
    Suffix(Vec<u8>),
    /// Anything else.
    Tokens(Vec<Part>),
}

/// A piece of a pattern with `**` in it.
#[derive(Debug)]
enum Part {
    /// One character.
    One(Token),
    /// `*`.
    Name,
    /// `**` and the slash behind it: any number of folders.
    Folders,
    /// `**` at the end: anything.
    Rest,
}

impl Pattern {
    /// `None` when it is malformed.
    fn new(line: &[u8]) -> Option<Self> {
        let (negated, pattern) = match line.strip_prefix(b"!") {
            Some(pattern) => (true, trim(pattern)),
            None => (false, line),
        };
        if pattern.is_empty() {
            return None;
        }
        let cleaned = clean(pattern);
        Glob::new(&cleaned).ok()?;
        Some(Self { negated, kind: Kind::new(&cleaned)? })
    }

    fn matches(&self, path: &[u8]) -> bool {
        match &self.kind {
            Kind::Path(exact) => path == exact,
            Kind::Suffix(suffix) => path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path),
            Kind::Tokens(parts) => matches(parts, path),
        }
    }

    fn may_match_below(&self, folder: &[u8]) -> bool {
        match &self.kind {
            Kind::Path(exact) => exact.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/")),
            Kind::Suffix(_) | Kind::Tokens(_) => true,
        }
    }
}

impl Kind {
    fn new(pattern: &[u8]) -> Option<Self> {
        let mut rest = pattern;
        let mut parts = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(b"**") {
                rest = after.strip_prefix(b"/").unwrap_or(after);
                parts.push(if rest.is_empty() { Part::Rest } else { Part::Folders });
            } else if let Some(after) = rest.strip_prefix(b"*") {
                rest = after;
                parts.push(Part::Name);
            } else if let Some(after) = rest.strip_prefix(b"?") {
                rest = after;
                parts.push(Part::One(Token::One));
            } else if let Some(after) = rest.strip_prefix(b"[") {
                rest = after;
                parts.push(Part::One(class(&mut rest).ok()?));
            } else {
                rest = rest.strip_prefix(b"\\").unwrap_or(rest);
                parts.push(Part::One(Token::Literal(take(&mut rest)?)));
            }
        }
        let plain = |parts: &[Part]| parts.iter().all(|part| matches!(part, Part::One(Token::Literal(_))));
        if plain(&parts) && !pattern.contains(&b'\\') {
            return Some(Self::Path(pattern.to_vec()));
        }
        // `**name` is a name's end, though `**name*` is a whole name: an old habit of Docker's, kept.
        if let (Some(suffix), [_, after @ ..]) = (pattern.strip_prefix(b"**"), &*parts)
            && plain(after)
            && !pattern.contains(&b'\\')
        {
            return Some(Self::Suffix(suffix.to_vec()));
        }
        Some(Self::Tokens(parts))
    }
}

/// Whether all of `path` matches. All ways through the pattern are followed at once, so the time is at most the
/// product of both lengths.
fn matches(parts: &[Part], path: &[u8]) -> bool {
    let mut states = vec![false; parts.len() + 1];
    let mut next = states.clone();
    enter(parts, &mut states, 0);
    let mut rest = path;
    while let Some(character) = take(&mut rest) {
        next.fill(false);
        let slash = character == u32::from(b'/');
        for (state, part) in parts.iter().enumerate().filter(|(state, _)| states[*state]) {
            match part {
                Part::One(token) if token.matches(character) => enter(parts, &mut next, state + 1),
                Part::One(_) => {}
                Part::Name if slash => {}
                Part::Name => enter(parts, &mut next, state),
                Part::Rest => enter(parts, &mut next, state),
                Part::Folders => {
                    // Within a folder's name the pattern cannot go on; behind the slash it may.
                    next[state] = true;
                    if slash {
                        enter(parts, &mut next, state + 1);
                    }
                }
            }
        }
        std::mem::swap(&mut states, &mut next);
    }
    states[parts.len()]
}

/// Marks a state, and those that are reached from it without a character.
fn enter(parts: &[Part], states: &mut [bool], mut state: usize) {
    loop {
        states[state] = true;
        match parts.get(state) {
            Some(Part::Name | Part::Rest | Part::Folders) => state += 1,
            _ => return,
        }
    }
}

fn trim(line: &[u8]) -> &[u8] {
    match std::str::from_utf8(line) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => line.trim_ascii(),
    }
}

/// The shortest path that means the same, relative to the root of the tree.
fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => drop(parts.pop()),
            b".." if rooted => {}
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excludes(patterns: &[&str], path: &str) -> bool {
        Ignore::new(patterns.iter().copied()).unwrap().excludes(path.as_bytes())
    }

    #[test]
    fn a_pattern_matches_paths_and_what_is_below() {
        for (pattern, path, expected) in [
            ("**", "file", true),
            ("**/", "dir/file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("dir/**", "dir", false),
            ("**/dir", "dir", true),
            ("**/dir", "dir/file", true),
            ("**/dir", "a/dir/file", true),
            ("**/dir", "a/mydir", false),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir3/file", true),
            ("**file", "dir/file", true),
            ("**file", "dir/myfile", true),
            ("**file*", "dir/myfile", false),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/*.txt", "file.txt", true),
            ("**/**/*.txt", "file.txt", true),
            ("**/**/*.txt2", "dir/dir/file.txt", false),
            ("a**/*.txt", "a/file.txt", true),
            ("a**/*.txt", "a/dir/dir/file.txt", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/xb", false),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a/*.txt**", "a/file.txt", true),
            ("a[b-d]e", "ace", true),
            ("a[b-d]e", "aae", false),
            ("a[^b-d]e", "aze", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcZdef", false),
            ("abc?def", "abcZdef", true),
            ("a\\\\", "a\\", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("*", "a/b", true),
            ("a", "ab", false),
            ("/a/", "a/b", true),
            ("./a//b/../c", "a/c", true),
            ("a?b", "a☺b", true),
            ("/", "a", false),
            (".", "a", false),
            ("../a", "a", false),
            ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
        ] {
            assert_eq!(excludes(&[pattern], path), expected, "{pattern:?} {path:?}");
        }
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        for (patterns, path, expected) in [
            (&["*.go", "!a.go"][..], "a.go", false),
            (&["!a.go", "*.go"], "a.go", true),
            (&["docs", "!docs/README.md"], "docs/README.md", false),
            (&["docs", "!docs/README.md"], "docs/other.md", true),
            (&["docs/*", "!docs/README.md"], "docs/README.md", false),
            (&["**", "!util/web"], "util/web/foo", false),
            (&["**", "!util/web"], "util/foo", true),
            (&["**", "!util/web", "util/web/foo"], "util/web/foo", true),
            (&["*", "!a", "a/b", "!a/b/c"], "a/b/c", false),
            (&["*", "!a", "a/b", "!a/b/c"], "a/b/d", true),
            (&["! /a/b"], "a/b", false),
        ] {
            assert_eq!(excludes(patterns, path), expected, "{patterns:?} {path:?}");
        }
    }

    #[test]
    fn a_file_has_comments_and_blanks() {
        let text = b"\xef\xbb\xbf# comment\r\n  a  \r\n\n #b\n! /a/keep\nc\xff";
        let ignore = Ignore::parse(text).unwrap();
        for (path, expected) in [
            (&b"a"[..], true),
            (b"a/x", true),
            (b"a/keep", false),
            (b"#b", true),
            (b"c\xff", true),
            (b"# comment", false),
        ] {
            assert_eq!(ignore.excludes(path), expected, "{:?}", path.escape_ascii());
        }
        assert!(Ignore::parse(b"# only\n\n").unwrap().is_empty());
        for (text, line) in [("a\n!\n", 2), ("[", 1), ("a\n\n! [x\n", 3), ("a\\", 1)] {
            assert_eq!(Ignore::parse(text.as_bytes()).unwrap_err().line, line, "{text:?}");
        }
    }

    #[test]
    fn folders_that_nothing_is_taken_out_of_need_no_look() {
        let below = |patterns: &[&str]| Ignore::new(patterns.iter().copied()).unwrap().reaches_into(b"a/b");
        assert!(!below(&["a"]));
        assert!(!below(&["a", "!a/c"]));
        assert!(!below(&["a", "!a/bc"]));
        assert!(below(&["a", "!a/b/c"]));
        assert!(below(&["a", "!**/c"]));
    }

    #[test]
    fn rules_are_bounded() {
        let reason = |text: String| Ignore::parse(text.as_bytes()).unwrap_err();
        let long = reason(format!("a\n{}\n", "x".repeat(5000)));
        assert_eq!((long.line, long.reason), (2, "is longer than the limit of 4096 bytes"));
        let many = reason("a\n".repeat(10_001));
        assert_eq!((many.line, many.reason), (10_001, "is one pattern more than the limit of 10000"));
        assert_eq!(reason("[".to_owned()).to_string(), "line 1: \"[\" is not a pattern");
    }

    #[test]
    fn matching_takes_no_exponential_time() {
        let pattern = "**/*a".repeat(100);
        assert!(!excludes(&[&pattern], &format!("{}b", "ab/".repeat(200))));
    }

    use proptest::{collection::vec, prelude::*, sample::select};

    const PIECES: &[&str] = &[
        "a", "b", "c", "/", "//", "*", "**", "**/", "?", "[a-b]", "[^a]", "[", "]", "\\", "!", "#", " ", ".", "..",
        "\n", "\r\n", "\t", "é", "-",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_text_is_answered_and_what_is_excluded_takes_all_below_along(
            rules in vec(select(PIECES), 0..24),
            path in vec(select(&["a", "b", "c", "ab", "é"][..]), 1..5),
        ) {
            let (rules, path) = (rules.concat(), path.join("/"));
            if let Ok(ignore) = Ignore::parse(rules.as_bytes()) {
                let excluded = ignore.excludes(path.as_bytes());
                if excluded && !ignore.has_exceptions() {
                    prop_assert!(ignore.excludes(format!("{path}/below").as_bytes()), "{rules:?} {path}");
                }
                // A folder that is left out and into which nothing reaches has nothing that is let in again.
                if excluded && !ignore.reaches_into(path.as_bytes()) {
                    prop_assert!(ignore.excludes(format!("{path}/a/b").as_bytes()), "{rules:?} {path}");
                }
            }
        }
    }
}
