//! `# check=skip=A,B;error=true;experimental=all`: which rules count.

use std::collections::BTreeSet;

use super::Rule;

/// Which rules are reported, and whether a report fails the build.
///
/// By default all but the experimental ones are reported, and none fails it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    skipped: Names,
    experimental: Names,
    error: bool,
}

/// Names of rules; those that are unknown here mean nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    All,
    These(BTreeSet<String>),
}

impl Default for Names {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Names {
    fn parse(text: &str) -> Self {
        match text.trim() {
            "all" => Self::All,
            names => Self::These(names.split(',').map(|name| name.trim().to_owned()).collect()),
        }
    }

    fn has(&self, rule: Rule) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(rule.name()),
        }
    }

    fn add(&mut self, more: Self) {
        match (self, more) {
            (Self::These(names), Self::These(more)) => names.extend(more),
            (this, Self::All) => *this = Self::All,
            (Self::All, Self::These(_)) => {}
        }
    }
}

/// A text that is no list of settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid check option `{option}`: {expected}")]
pub struct InvalidSettings {
    /// The part that is not understood.
    option: String,
    /// What would be.
    expected: &'static str,
}

impl Settings {
    /// Reads the value of the directive: `skip=`, `experimental=` and `error=`, with semicolons between them.
    ///
    /// # Errors
    /// Fails on an option of another name, and on an `error` that is neither true nor false.
    pub fn parse(text: &str) -> Result<Self, InvalidSettings> {
        const FORM: &str = "write `skip=RULE,...`, `experimental=RULE,...` or `error=true`, with `;` between them";
        let mut settings = Self::default();
        if text.trim().is_empty() {
            return Ok(settings);
        }
        for option in text.split(';') {
            let invalid = |expected| InvalidSettings { option: option.trim().chars().take(60).collect(), expected };
            let (name, value) = option.split_once('=').ok_or_else(|| invalid(FORM))?;
            match name.trim() {
                "skip" => settings.skipped = Names::parse(value),
                "experimental" => settings.experimental = Names::parse(value),
                "error" => {
                    settings.error = match value.trim() {
                        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                        _ => return Err(invalid("it must be true or false")),
                    }
                }
                _ => return Err(invalid(FORM)),
            }
        }
        Ok(settings)
    }

    /// Whether findings of `rule` are reported.
    pub fn reports(&self, rule: Rule) -> bool {
        if rule.is_experimental() { self.experimental.has(rule) } else { !self.skipped.has(rule) }
    }

    /// Whether a finding fails the build.
    pub fn fails(&self) -> bool {
        self.error
    }

    /// These settings with what the comments right above an instruction add: `# check=skip=RULE`.
    pub(crate) fn with_comments(&self, comments: &[String]) -> Self {
        let mut settings = self.clone();
        for comment in comments {
            let Some(more) = comment.strip_prefix("check=").and_then(|text| Self::parse(text).ok()) else { continue };
            settings.skipped.add(more.skipped);
            settings.experimental.add(more.experimental);
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_rules_or_all_of_them() {
        let settings = Settings::parse("skip=StageNameCasing, UndefinedVar ; error=true").unwrap();
        assert!(settings.fails());
        assert!(!settings.reports(Rule::StageNameCasing) && !settings.reports(Rule::UndefinedVar));
        assert!(settings.reports(Rule::FromAsCasing) && !settings.reports(Rule::CopyIgnoredFile));
        let settings = Settings::parse("skip=all;experimental=CopyIgnoredFile").unwrap();
        assert!(settings.reports(Rule::CopyIgnoredFile) && !settings.reports(Rule::InvalidDefinitionDescription));
        assert!(Rule::ALL.into_iter().filter(|rule| !rule.is_experimental()).all(|rule| !settings.reports(rule)));
        assert_eq!(Settings::parse(" "), Ok(Settings::default()));
        assert!(Settings::parse("skip=NoSuchRule").unwrap().reports(Rule::UndefinedVar));
        for wrong in ["skip", "jump=all", "error=maybe", "skip=all,error=true;x"] {
            assert!(Settings::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_comment_adds_to_them() {
        let settings = Settings::parse("skip=FromAsCasing").unwrap();
        let more = settings.with_comments(&["text".into(), "check=skip=UndefinedVar;error=true".into()]);
        assert!(!more.reports(Rule::UndefinedVar) && !more.reports(Rule::FromAsCasing));
        assert!(!more.fails());
    }
}
