//! Expansion of variables in the words of an instruction, with the place of a fault.

use super::error::{PlanError, Problem};
use crate::dockerfile::{
    Escape, Span, Spanned,
    words::{self, WordError},
};

/// Expands words with one set of variables.
pub(crate) struct Words<F> {
    escape: Escape,
    lookup: F,
}

impl<'v, F: Fn(&str) -> Option<&'v str> + 'v> Words<F> {
    pub(crate) fn new(escape: Escape, lookup: F) -> Self {
        Self { escape, lookup }
    }

    /// Expands a word; quotes and escapes are taken away.
    pub(crate) fn word(&self, word: &Spanned<String>) -> Result<String, PlanError> {
        let expanded = words::process_word(&word.value, self.escape, &self.lookup);
        Ok(expanded.map_err(|source| failed(&word.value, source, word.span))?.text)
    }

    /// Expands a word that may become several or none, as `EXPOSE $PORTS` wants it.
    pub(crate) fn split(&self, word: &Spanned<String>) -> Result<Vec<String>, PlanError> {
        let expanded = words::process_words(&word.value, self.escape, &self.lookup);
        Ok(expanded.map_err(|source| failed(&word.value, source, word.span))?.words)
    }

    /// Expands variables and leaves quotes as they are: the body of a heredoc.
    pub(crate) fn body(&self, text: &str, span: Span) -> Result<String, PlanError> {
        Ok(words::process_text(text, &self.lookup).map_err(|source| failed("the heredoc", source, span))?.text)
    }
}

fn failed(word: &str, source: WordError, span: Span) -> PlanError {
    Problem::Expand { word: word.to_owned(), source }.at(span)
}
