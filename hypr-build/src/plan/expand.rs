//! Expansion of variables in the words of an instruction, with the place of a fault.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    budget::Budget,
    error::{PlanError, Problem},
};
use crate::dockerfile::{
    Escape, Span, Spanned,
    words::{self, Expansion, Lookup, WordError},
};

/// Expands words with one set of variables.
pub(crate) struct Words<'b, 'v> {
    escape: Escape,
    lookup: Box<Lookup<'v>>,
    budget: &'b Budget,
    /// Variables that were asked for, are not set, and that nothing stands in for; each with the first such word.
    undefined: RefCell<BTreeMap<String, Span>>,
}

impl<'b, 'v> Words<'b, 'v> {
    pub(crate) fn new(escape: Escape, budget: &'b Budget, lookup: impl Fn(&str) -> Option<&'v str> + 'v) -> Self {
        Self { escape, lookup: Box::new(lookup), budget, undefined: RefCell::default() }
    }

    /// Expands a word; quotes and escapes are taken away.
    pub(crate) fn word(&self, word: &Spanned<String>) -> Result<String, PlanError> {
        Ok(self.expansion(word)?.text)
    }

    /// As [`word`](Self::word), with the variables that it depended on.
    pub(crate) fn expansion(&self, word: &Spanned<String>) -> Result<Expansion, PlanError> {
        // Most words have nothing to expand.
        if !word.contains(['$', '\'', '"', self.escape.as_char()]) {
            self.budget.spend(word.len()).map_err(|problem| problem.at(word.span))?;
            return Ok(Expansion { text: word.value.clone(), ..Expansion::default() });
        }
        let expanded = words::process_word(&word.value, self.escape, &*self.lookup);
        let expanded = expanded.map_err(|source| failed(&word.value, source, word))?;
        self.note(&expanded.undefined, expanded.text.len(), word.span)?;
        Ok(expanded)
    }

    /// Expands a word that may become several or none, as `EXPOSE $PORTS` wants it.
    pub(crate) fn split(&self, word: &Spanned<String>) -> Result<Vec<String>, PlanError> {
        let expanded = words::process_words(&word.value, self.escape, &*self.lookup);
        let expanded = expanded.map_err(|source| failed(&word.value, source, word))?;
        let length = expanded.words.iter().map(String::len).sum();
        self.note(&expanded.undefined, length, word.span)?;
        Ok(expanded.words)
    }

    /// Expands variables and leaves quotes as they are: the body of a heredoc.
    pub(crate) fn body(&self, text: &str, span: Span) -> Result<String, PlanError> {
        let place = Spanned::new(String::new(), span);
        let expanded =
            words::process_text(text, &*self.lookup).map_err(|source| failed("the heredoc", source, &place))?;
        self.note(&expanded.undefined, expanded.text.len(), span)?;
        Ok(expanded.text)
    }

    /// The variables that nothing stood for, and where each was first asked for.
    pub(crate) fn undefined(self) -> BTreeMap<String, Span> {
        self.undefined.into_inner()
    }

    fn note(&self, undefined: &BTreeSet<String>, length: usize, span: Span) -> Result<(), PlanError> {
        let mut noted = self.undefined.borrow_mut();
        for name in undefined {
            if !noted.contains_key(name) {
                noted.insert(name.clone(), span);
            }
        }
        self.budget.spend(length).map_err(|problem| problem.at(span))
    }
}

/// The fault, at its own place where the word stands in one piece.
fn failed(shown: &str, source: WordError, word: &Spanned<String>) -> PlanError {
    let mut span = word.span;
    if span.end - span.start == word.len() && source.offset < word.len() {
        span.start += source.offset;
    }
    let mut shown: String = shown.to_owned();
    if let Some((end, _)) = shown.char_indices().nth(60) {
        shown.truncate(end);
        shown.push('…');
    }
    Problem::Expand { word: shown, source }.at(span)
}
