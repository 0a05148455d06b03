//! Takes findings while the planner goes through the stages.

use std::cell::RefCell;

use super::{Finding, Rule, Settings};
use crate::dockerfile::{Span, Statement};

/// The findings that are kept; a hostile file could have millions.
const KEPT: usize = 1000;

/// Findings that the settings let through.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    settings: Settings,
    findings: RefCell<Vec<Finding>>,
}

impl Collector {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, findings: RefCell::default() }
    }

    #[cfg(feature = "build")]
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether no more findings are kept.
    #[cfg(feature = "build")]
    pub(crate) fn is_full(&self) -> bool {
        self.findings.borrow().len() >= KEPT
    }

    /// Takes a finding about `statement`, pointed at `span`.
    pub(crate) fn report(&self, rule: Rule, statement: &Statement, span: Span, detail: impl FnOnce() -> String) {
        let settings = match statement.comments.iter().any(|comment| comment.starts_with("check=")) {
            true => &self.settings.with_comments(&statement.comments),
            false => &self.settings,
        };
        let mut findings = self.findings.borrow_mut();
        if settings.reports(rule) && findings.len() < KEPT {
            findings.push(Finding { rule, detail: detail(), span, lines: (statement.line, statement.end_line) });
        }
    }

    /// Takes a finding as it is.
    pub(crate) fn add(&self, finding: Finding) {
        let mut findings = self.findings.borrow_mut();
        if self.settings.reports(finding.rule) && findings.len() < KEPT {
            findings.push(finding);
        }
    }

    /// Everything that was found, in the order of the file; what was found twice, once.
    pub(crate) fn finish(self) -> Vec<Finding> {
        let mut findings = self.findings.into_inner();
        findings.sort_by(|a, b| (a.lines, a.rule, &a.detail, a.span).cmp(&(b.lines, b.rule, &b.detail, b.span)));
        findings.dedup_by(|a, b| (a.lines, a.rule, &a.detail) == (b.lines, b.rule, &b.detail));
        findings
    }
}
